"""The bodies of answers, whole and in pieces, as OpenAI's clients read them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from opencolossus.serve.api import formats
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.schemas import CompletionRequest
from opencolossus.serve.request import Delta, Request, TokenLogprob


class ChatWriter:
    """The shapes of ``/v1/chat/completions``."""

    def __init__(self, model: str, usage: bool = False) -> None:
        self.head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        self.model = model
        self._usage = usage
        """Whether usage follows the pieces, which are then to say that they have none."""
        self._begun: set[int] = set()

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """A piece of a streamed answer."""
        said: dict[str, Any] = {"content": delta.text} if delta.text else {}
        if index not in self._begun:
            self._begun.add(index)
            said = {"role": "assistant", "content": delta.text}
        choice = {
            "index": index,
            "delta": said,
            "logprobs": formats.chat_logprobs(delta.logprobs) if delta.logprobs else None,
            "finish_reason": delta.finish,
        }
        return self._body("chat.completion.chunk", [choice]) | _no_usage(self._usage)

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> dict[str, Any]:
        """The answers in one piece."""
        choices = []
        for index, pieces in enumerate(deltas):
            scored = [one for piece in pieces for one in piece.logprobs]
            choices.append(
                {
                    "index": index,
                    "message": {
                        "role": "assistant",
                        "content": "".join(piece.text for piece in pieces),
                        "refusal": None,
                    },
                    "logprobs": formats.chat_logprobs(scored) if scored else None,
                    "finish_reason": pieces[-1].finish,
                }
            )
        return self._body("chat.completion", choices)

    def last(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The chunk that carries the usage."""
        return {**self._body("chat.completion.chunk", []), "usage": usage}

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": kind, "model": self.model, "choices": choices}


class TextWriter:
    """The shapes of ``/v1/completions``."""

    def __init__(self, hub: Hub, body: CompletionRequest, requests: Sequence[Request]) -> None:
        self.head = {"id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        self.model = hub.model
        self._logprobs = body.logprobs is not None
        self._numbered = bool(body.return_tokens_as_token_ids)
        self._usage = bool(body.stream_options and body.stream_options.include_usage)
        self._only_prompt = body.max_tokens == 0
        self._echoes = [
            hub.tokenizer.decode(request.prompt) if body.echo else "" for request in requests
        ]
        self._offsets = [0] * len(requests)
        self._begun: set[int] = set()

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """A piece of a streamed answer."""
        return self._body([self._choice(index, [delta])]) | _no_usage(self._usage)

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> dict[str, Any]:
        """The answers in one piece."""
        return self._body([self._choice(index, pieces) for index, pieces in enumerate(deltas)])

    def last(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The chunk that carries the usage."""
        return {**self._body([]), "usage": usage}

    def _choice(self, index: int, pieces: Sequence[Delta]) -> dict[str, Any]:
        scored: list[TokenLogprob] = []
        text = ""
        if index not in self._begun:
            self._begun.add(index)
            text = self._echoes[index]
            scored += pieces[0].prompt_logprobs
        if not self._only_prompt:
            text += "".join(piece.text for piece in pieces)
            scored += [one for piece in pieces for one in piece.logprobs]
        start = self._offsets[index]
        self._offsets[index] += formats.length(scored)
        return {
            "index": index,
            "text": text,
            "logprobs": (
                formats.text_logprobs(scored, start, self._numbered) if self._logprobs else None
            ),
            "finish_reason": "length" if self._only_prompt else pieces[-1].finish,
        }

    def _body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": "text_completion", "model": self.model, "choices": choices}


def _no_usage(follows: bool) -> dict[str, None]:
    return {"usage": None} if follows else {}
