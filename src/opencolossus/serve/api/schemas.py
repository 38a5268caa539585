"""What clients of OpenAI's API send, as far as one text model can mean it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from opencolossus.serve.api.refusals import (
    REFUSED,
    REFUSED_IN_MESSAGES,
    REFUSED_IN_STREAMS,
    refuse,
)

MOST_CHOICES = 8
MOST_PROMPTS = 64


def _whole(value: object) -> object:
    """1.0 is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Seed = Annotated[int, WHOLE]
Text = Annotated[str, Field(max_length=200_000)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Length = Annotated[int, Field(ge=1), WHOLE] | None
TokenId = Annotated[int, Field(ge=0), WHOLE]


class Lenient(BaseModel):
    """Fields that are not known are ignored, as clients send ever new ones."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)


class StreamOptions(Lenient):
    """Of a streamed answer."""

    include_usage: bool = False

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_cannot_be(cls, value: Any) -> Any:
        refuse(value, REFUSED_IN_STREAMS)
        return value


class Common(Lenient):
    """What both kinds of completion share."""

    model: str = Field(max_length=256)
    max_tokens: Annotated[int, Field(ge=0), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    top_k: Annotated[int, Field(ge=0), WHOLE] | None = 0
    """Not OpenAI's; 0 keeps all."""
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] | None = 1.0
    """Not OpenAI's."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: (
        dict[
            Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]
        ]
        | None
    ) = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    ignore_eos: bool | None = False
    """Not OpenAI's: go on past the end of an answer, as measurements of speed need."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES), WHOLE] | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_cannot_be(cls, value: Any) -> Any:
        refuse(value, REFUSED)
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class TextPart(Lenient):
    """A piece of a message's content."""

    type: Literal["text"]
    text: Text


class ChatMessage(Lenient):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=100)] | None

    @model_validator(mode="before")
    @classmethod
    def _refuse_tools(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("role") in ("tool", "function"):
            raise ValueError("results of tools are not supported: this model cannot call tools")
        refuse(value, REFUSED_IN_MESSAGES)
        return value

    @model_validator(mode="after")
    def _refuse_nothing(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError("content is null; give a text")
        return self

    @property
    def text(self) -> str:
        """The content in one piece."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class ChatRequest(Common):
    """``POST /v1/chat/completions``"""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Length = None
    max_completion_tokens: Length = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    """Asks for log-probabilities too."""

    @model_validator(mode="after")
    def _refuse_two_lengths(self) -> ChatRequest:
        if None not in (self.length, self.max_tokens) and self.length != self.max_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        return self

    @property
    def length(self) -> int | None:
        """The most tokens of an answer, under its new name or its old one."""
        return self.max_completion_tokens or self.max_tokens


Prompts = (
    Text
    | Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[
        list[Annotated[list[TokenId], Field(min_length=1)]],
        Field(min_length=1, max_length=MOST_PROMPTS),
    ]
)


class CompletionRequest(Common):
    """``POST /v1/completions``"""

    prompt: Prompts
    echo: bool | None = False
    logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    """Not OpenAI's."""
    return_tokens_as_token_ids: bool | None = False
    """As vLLM: log-probabilities name tokens by number, since two may have the same text."""
    best_of: Annotated[int, Field(ge=1, le=1), WHOLE] | None = None
