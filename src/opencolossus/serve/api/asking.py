"""From the bodies of OpenAI's clients to requests for the engine."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from starlette.concurrency import run_in_threadpool

from opencolossus.data import chat
from opencolossus.data.documents import Message, plain
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.accounts.tiers import TIERS
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.schemas import ChatRequest, Common, CompletionRequest
from opencolossus.serve.prompt import STOP_TOKENS, encode
from opencolossus.serve.request import Request, Sampling


def check_model(hub: Hub, name: str) -> None:
    """Refuse the name of another model.

    Raises:
        ApiError: this one is not served.
    """
    if name != hub.model:
        raise ApiError(
            404,
            f"the model {name[:100]!r} does not exist; {hub.model!r} is served here",
            param="model",
            code="model_not_found",
        )


async def chat_requests(hub: Hub, user: User, body: ChatRequest) -> list[Request]:
    """A request per choice.

    Raises:
        ApiError: the body asks for what cannot be.
    """
    messages = [
        Message("system" if m.role == "developer" else m.role, plain(m.text)) for m in body.messages
    ]
    prompt = await run_in_threadpool(encode, hub.tokenizer, messages)
    scored = body.logprobs or body.top_logprobs is not None
    logprobs = (body.top_logprobs or 0) if scored else None
    return [
        _request(hub, user, body, prompt, body.length, logprobs, choice)
        for choice in range(body.n or 1)
    ]


async def text_requests(hub: Hub, user: User, body: CompletionRequest) -> list[Request]:
    """A request per prompt and choice.

    Raises:
        ApiError: the body asks for what cannot be.
    """
    # Numbers need no work that would keep the others waiting.
    numbers = isinstance(body.prompt, list) and not isinstance(body.prompt[0], str)
    prompts = _prompts(hub, body) if numbers else await run_in_threadpool(_prompts, hub, body)
    return [
        _request(hub, user, body, prompt, body.max_tokens, body.logprobs, choice)
        for prompt in prompts
        for choice in range(body.n or 1)
    ]


def _prompts(hub: Hub, body: CompletionRequest) -> list[tuple[int, ...]]:
    given: Any = body.prompt
    single = isinstance(given, str) or isinstance(given[0], int)
    prompts = [_prompt_tokens(hub, one) for one in ([given] if single else given)]
    if len(prompts) * (body.n or 1) > hub.engine.slots:
        raise ApiError(
            400,
            f"{len(prompts)} prompts with {body.n or 1} choices each are more than the "
            f"{hub.engine.slots} answers that run together",
            param="prompt",
        )
    return prompts


def _prompt_tokens(hub: Hub, given: Any) -> tuple[int, ...]:
    if isinstance(given, str):
        # Training texts begin with this token, and a text without it is none that the model knows.
        return (chat.BOS_ID, *hub.tokenizer.encode(given.encode("utf-8", "replace").decode()))
    highest = len(hub.tokenizer) - 1
    if max(given) > highest:
        raise ApiError(
            400, f"token {max(given)} does not exist; the last one is {highest}", param="prompt"
        )
    return tuple(given)


def _request(
    hub: Hub,
    user: User,
    body: Common,
    prompt: tuple[int, ...],
    wanted: int | None,
    logprobs: int | None,
    choice: int,
) -> Request:
    context = hub.engine.context
    if len(prompt) >= context:
        raise ApiError(
            400,
            f"the prompt has {len(prompt)} tokens, but prompt and answer together have at most "
            f"{context}",
            param="messages" if isinstance(body, ChatRequest) else "prompt",
            code="context_length_exceeded",
        )
    default = 16 if isinstance(body, CompletionRequest) else _usual_length(user, body, prompt)
    echo = isinstance(body, CompletionRequest) and bool(body.echo)
    extra_stops = tuple(body.stop_token_ids or ()) if isinstance(body, CompletionRequest) else ()
    return Request(
        id=uuid.uuid4().hex,
        prompt=prompt,
        max_tokens=min(max(default if wanted is None else wanted, 1), context - len(prompt)),
        sampling=sampling_of(hub, body, choice),
        stop=body.stops,
        stop_tokens=extra_stops if body.ignore_eos else (*STOP_TOKENS, *extra_stops),
        logprobs=logprobs,
        prompt_logprobs=echo and logprobs is not None,
        user=str(user.id),
    )


def _usual_length(user: User, body: Common, prompt: tuple[int, ...]) -> int:
    """The longest answer where none is asked for: half a minute's tokens, in tiers that count."""
    tokens = TIERS.get(user.tier, TIERS["free"]).tokens_per_minute
    return sys.maxsize if tokens is None else (tokens // 2 - len(prompt)) // (body.n or 1)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def sampling_of(hub: Hub, body: Common, choice: int = 0) -> Sampling:
    """How the tokens of one of several choices are drawn."""
    return Sampling(
        temperature=_or(body.temperature, 1.0),
        top_p=_or(body.top_p, 1.0),
        top_k=body.top_k or 0,
        repetition_penalty=_or(body.repetition_penalty, 1.0),
        presence_penalty=_or(body.presence_penalty, 0.0),
        frequency_penalty=_or(body.frequency_penalty, 0.0),
        logit_bias=_biases(hub, body.logit_bias or {}),
        seed=None if body.seed is None else body.seed + choice,
    )


def _biases(hub: Hub, given: dict[str, float]) -> tuple[tuple[int, float], ...]:
    biases = []
    for name, bias in given.items():
        token = int(name)
        if token >= len(hub.tokenizer):
            raise ApiError(
                400,
                f"logit_bias: {name[:20]!r} is no token; they are 0 to {len(hub.tokenizer) - 1}",
                param="logit_bias",
            )
        biases.append((token, bias))
    return tuple(biases)
