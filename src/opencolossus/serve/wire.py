"""Requests and answers as other engines' /v1/completions write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opencolossus.serve.request import Request, TokenLogprob

LLAMA_CPP = "llamacpp"
"""How llama.cpp's server names itself as owner of a model."""
SGLANG = "sglang"
"""The same of SGLang."""
SGLANG_KEEPS = 6
"""Tokens of its context that it gives to no prompt: it refuses those of as many as are left."""
UNKNOWN = -1
"""Stands for the number of a token of which only the text was told."""
NUMBERED = "token_id:"
"""Before the number of a token, in vLLM and ``colossus serve`` where that was asked for."""


def body(request: Request, model: str, owner: str) -> dict[str, Any]:
    """What to send for a request; only what it asks for, and what would go wrong by default."""
    sampling = request.sampling
    asked: dict[str, Any] = {
        "model": model,
        "prompt": list(request.prompt),
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if owner == LLAMA_CPP:
        # Its own defaults cut: top_k 40, min_p 0.05.
        asked |= {"top_k": sampling.top_k, "min_p": 0.0}
        asked["repeat_penalty"] = sampling.repetition_penalty
        asked["ignore_eos"] = not request.stop_tokens
        # It knows one token that ends; the others are seen by what it tells of each token.
        asked["logprobs"] = max(request.logprobs or 0, 1)
    else:
        asked["repetition_penalty"] = sampling.repetition_penalty
        asked["stop_token_ids"] = list(request.stop_tokens)
        asked |= {"top_k": sampling.top_k} if sampling.top_k else {}
        asked |= {} if request.stop_tokens else {"ignore_eos": True}
    if sampling.seed is not None:
        asked["seed"] = sampling.seed
    if request.stop:
        asked["stop"] = list(request.stop)
    if request.logprobs is not None:
        # Two tokens may have the same text. SGLang has a list for numbers, others a form of text.
        asked["return_token_ids" if owner == SGLANG else "return_tokens_as_token_ids"] = True
        asked.setdefault("logprobs", request.logprobs)
    if sampling.logit_bias:
        asked["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return asked


def context(model: dict[str, Any]) -> int | None:
    """Tokens of prompt and answer that an engine takes, by what it says of its model."""
    told = model.get("meta") or {}
    found = model.get("max_model_len") or model.get("context_length") or told.get("n_ctx")
    if found and model.get("owned_by") == SGLANG:
        return int(found) - SGLANG_KEEPS
    return int(found) if found else None


def ends(choice: dict[str, Any], stop_tokens: Sequence[int]) -> bool:
    """Whether a piece is a token that ends an answer, though the engine would go on."""
    told = (choice.get("logprobs") or {}).get("content") or ()
    return any(one.get("id") in stop_tokens for one in told)


def logprobs(
    choice: dict[str, Any], top: int | None, token_bytes: Sequence[bytes]
) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of a piece, in the form of completions or in that of chats."""
    found = choice.get("logprobs")
    if top is None or not found:
        return ()
    if "content" in found:
        return tuple(_from_chat(one, top) for one in found["content"] or () if one["bytes"])
    listed = _listed(found, choice, top, token_bytes)
    # SGLang scores the token that ended the answer as well.
    return listed[:-1] if isinstance(choice.get("matched_stop"), int) else listed


def _listed(
    found: dict[str, Any], choice: dict[str, Any], top: int, token_bytes: Sequence[bytes]
) -> tuple[TokenLogprob, ...]:
    told = [_token(token, token_bytes) for token in found["tokens"]]
    if "token_ids" in choice:
        told = [(number, token_bytes[number]) for number in choice["token_ids"]]
    best = found.get("top_logprobs") or [None] * len(told)
    return tuple(
        TokenLogprob(
            *token,
            logprob,
            tuple((*_token(other, token_bytes), value) for other, value in _ranked(others, top)),
        )
        for token, logprob, others in zip(told, found["token_logprobs"], best, strict=True)
    )


def _from_chat(one: dict[str, Any], top: int) -> TokenLogprob:
    others = tuple(
        (other.get("id", UNKNOWN), bytes(other["bytes"] or ()), other["logprob"])
        for other in one.get("top_logprobs", ())[:top]
    )
    return TokenLogprob(one.get("id", UNKNOWN), bytes(one["bytes"]), one["logprob"], others)


def _ranked(others: dict[str, float] | None, top: int) -> list[tuple[str, float]]:
    return sorted((others or {}).items(), key=lambda pair: -pair[1])[:top]


def _token(told: str, token_bytes: Sequence[bytes]) -> tuple[int, bytes]:
    if told.startswith(NUMBERED):
        number = int(told.removeprefix(NUMBERED))
        return number, token_bytes[number]
    if told.startswith("bytes:"):
        return UNKNOWN, bytes.fromhex(told.removeprefix("bytes:").replace("\\x", ""))
    return UNKNOWN, told.encode()


def refusal(status: int, text: bytes) -> tuple[int, str]:
    """The status and the sentence for our client, from an error of the engine."""
    if status == 429:
        return 429, "the engine is busy; try again later"
    if status not in (400, 404, 413, 422):
        return 503, f"the engine refused with status {status}"
    try:
        told = json.loads(text)
        message = str(told.get("error", told)["message"]).splitlines()[0][:300]
    except (ValueError, LookupError, TypeError, AttributeError):
        message = f"status {status}"
    return 400, f"the engine refused: {message}"


def broken(event: dict[str, Any]) -> tuple[int, str] | None:
    """The same from an event of a stream that had begun well; None if it tells of no error."""
    error = event.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    return refusal(code if isinstance(code, int) else 500, json.dumps(event).encode())
