"""Answers in the shapes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opencolossus.serve.request import TokenLogprob


def usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    """Tokens read, of which ``cached`` were known already, and written."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def chat_logprobs(scored: Sequence[TokenLogprob]) -> dict[str, Any]:
    """The log-probabilities of a chat answer; what ends it is no part of it."""
    return {
        "content": [
            {
                **_chat_token(one.token, one.data, one.logprob or 0.0),
                "top_logprobs": [_chat_token(*other) for other in one.top],
            }
            for one in scored
            if one.data
        ],
        "refusal": None,
    }


def _chat_token(token: int, data: bytes, logprob: float) -> dict[str, Any]:
    text = data.decode("utf-8", "replace") if data else _numbered(token)
    return {"token": text, "logprob": logprob, "bytes": list(data)}


def text_logprobs(
    scored: Sequence[TokenLogprob], start: int, numbered: bool = False
) -> dict[str, Any]:
    """The log-probabilities of a text completion, with that of the token that ended it.

    ``start`` is the offset of its first token; ``numbered`` names tokens by their numbers.
    """
    offsets, place = [], start
    for one in scored:
        offsets.append(place)
        place += len(_token_text(one.data))
    return {
        "tokens": [_named(one.token, one.data, numbered) for one in scored],
        "token_logprobs": [one.logprob for one in scored],
        "top_logprobs": [_best(one, numbered) for one in scored],
        "text_offset": offsets,
    }


def _best(one: TokenLogprob, numbered: bool) -> dict[str, float] | None:
    if one.logprob is None:
        return None
    return {_named(token, data, numbered): logprob for token, data, logprob in reversed(one.top)}


def length(scored: Sequence[TokenLogprob]) -> int:
    """By how much the tokens move the offset of the next one."""
    return sum(len(_token_text(one.data)) for one in scored)


def _named(token: int, data: bytes, numbered: bool) -> str:
    return _numbered(token) if numbered or not data else _token_text(data)


def _numbered(token: int) -> str:
    """As vLLM names tokens; those that stand for no text have no other name."""
    return f"token_id:{token}"


def _token_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # As OpenAI writes tokens that are no characters by themselves.
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
