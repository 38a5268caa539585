"""Fields that would change an answer in ways that are not offered, refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError

NOT_SUPPORTED = "not_supported"


@dataclass(frozen=True)
class Refusal:
    """Why a field is refused, and values of it that ask for nothing; false and empty never do."""

    reason: str
    usual: tuple[object, ...] = ()


NO_TOOLS = "this model cannot call tools"
TEXT_ONLY = "this model writes plain text only"
NO_SEARCH = "this model cannot search the web"
NO_GRAMMAR = "answers are not held to a grammar"
REFUSED = {
    "tools": Refusal(NO_TOOLS),
    "functions": Refusal(NO_TOOLS),
    "tool_choice": Refusal(NO_TOOLS, ("none", "auto")),
    "function_call": Refusal(NO_TOOLS, ("none", "auto")),
    "audio": Refusal("this model has no audio"),
    "modalities": Refusal(TEXT_ONLY, (["text"],)),
    "response_format": Refusal(TEXT_ONLY, ("text",)),
    "web_search_options": Refusal(NO_SEARCH),
    "search_parameters": Refusal(NO_SEARCH, ("off",)),
    "suffix": Refusal("this model cannot fill in the middle"),
    "reasoning_effort": Refusal("this model does not reason before it answers", ("none",)),
    "verbosity": Refusal("ask for the length in the messages", ("medium",)),
    "service_tier": Refusal("all requests are served alike", ("auto", "default")),
    "store": Refusal("answers of the API are not stored"),
    "deferred": Refusal("answers are not kept; wait for this one, or stream it"),
    "moderation": Refusal("there is no model for it here"),
    "min_p": Refusal("use top_p or top_k"),
    "typical_p": Refusal("use top_p or top_k", (1,)),
    "min_tokens": Refusal("use ignore_eos or logit_bias"),
    "use_beam_search": Refusal("answers are drawn, not searched for"),
    "length_penalty": Refusal("answers are drawn, not searched for", (1,)),
    "grammar": Refusal(NO_GRAMMAR),
    "guided_choice": Refusal(NO_GRAMMAR),
    "guided_grammar": Refusal(NO_GRAMMAR),
    "guided_json": Refusal(NO_GRAMMAR),
    "guided_regex": Refusal(NO_GRAMMAR),
    "structured_outputs": Refusal(NO_GRAMMAR),
}
"""Of OpenAI, xAI, vLLM and llama.cpp."""
REFUSED_IN_STREAMS = {"include_obfuscation": Refusal("pieces carry no padding")}
REFUSED_IN_MESSAGES = {
    "tool_calls": Refusal(NO_TOOLS),
    "function_call": Refusal(NO_TOOLS),
    "audio": Refusal("this model has no audio"),
}


def refuse(given: Any, refused: Mapping[str, Refusal]) -> None:
    """Refuse a body that asks for what is not offered.

    Raises:
        PydanticCustomError: it does.
    """
    if not isinstance(given, dict):
        return
    for name, refusal in refused.items():
        value = given.get(name)
        asks = bool(value) or isinstance(value, dict)  # {} asks for what is usual elsewhere
        if isinstance(value, dict):  # {"type": "text"} of OpenAI, {"mode": "off"} of xAI
            value = value.get("type", value.get("mode"))
        if asks and value not in refusal.usual:
            told = {"param": name, "reason": refusal.reason}
            raise PydanticCustomError(NOT_SUPPORTED, "{param} is not supported: {reason}", told)
