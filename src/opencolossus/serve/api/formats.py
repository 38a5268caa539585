"""Answers in the shapes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opencolossus.serve.request import TokenLogprob


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Tokens read and written."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chat_logprobs(scored: Sequence[TokenLogprob]) -> dict[str, Any]:
    """The log-probabilities of a chat answer."""
    return {
        "content": [
            {
                **_chat_token(one.data, one.logprob or 0.0),
                "top_logprobs": [_chat_token(data, logprob) for _, data, logprob in one.top],
            }
            for one in scored
        ],
        "refusal": None,
    }


def _chat_token(data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}


def text_logprobs(
    scored: Sequence[TokenLogprob], start: int, numbered: bool = False
) -> dict[str, Any]:
    """The log-probabilities of a text completion.

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


def _named(token: int, data: bytes, numbered: bool) -> str:
    return f"token_id:{token}" if numbered else _token_text(data)


def _token_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # As OpenAI writes tokens that are no characters by themselves.
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
