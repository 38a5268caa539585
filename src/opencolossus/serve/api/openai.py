"""The routes under /v1, for OpenAI's clients and those of others who speak like them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from opencolossus.data import chat
from opencolossus.data.documents import Message, plain
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.api import formats
from opencolossus.serve.api.auth import api_user, hub_of
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Hub, Ticket
from opencolossus.serve.api.schemas import ChatRequest, Common, CompletionRequest
from opencolossus.serve.api.streams import EventStream, event, unless_gone
from opencolossus.serve.api.writers import ChatWriter, TextWriter
from opencolossus.serve.prompt import STOP_TOKENS, encode
from opencolossus.serve.request import Delta, Request, Sampling

router = APIRouter(prefix="/v1", tags=["OpenAI"])
Caller = Annotated[User, Depends(api_user)]
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in (
        (400, "The request cannot be answered as it is"),
        (401, "No valid API key"),
        (404, "No such model"),
        (413, "The body is too large"),
        (429, "A limit is reached; Retry-After says when to come back"),
        (503, "The engine or the database is away for a moment"),
    )
}


@router.get("/models", responses=ERRORS)
async def models(http: HttpRequest, _user: Caller) -> dict[str, Any]:
    """The models that can be asked: the one that is served."""
    return {"object": "list", "data": [_model(hub_of(http))]}


@router.get("/models/{name:path}", responses=ERRORS)
async def one_model(http: HttpRequest, name: str, _user: Caller) -> dict[str, Any]:
    """The model that is served, by its name."""
    check_model(hub_of(http), name)
    return _model(hub_of(http))


def _model(hub: Hub) -> dict[str, Any]:
    return {
        "id": hub.model,
        "object": "model",
        "created": 0,
        "owned_by": "colossus",
        "context_length": hub.engine.context,
    }


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


@router.post("/chat/completions", response_model=None, responses=ERRORS)
async def chat_completions(http: HttpRequest, body: ChatRequest, user: Caller) -> Response:
    """The next message of a conversation."""
    hub = hub_of(http)
    check_model(hub, body.model)
    messages = [
        Message("system" if m.role == "developer" else m.role, plain(m.text)) for m in body.messages
    ]
    prompt = await run_in_threadpool(encode, hub.tokenizer, messages)
    wanted = body.max_completion_tokens or body.max_tokens
    scored = body.logprobs or body.top_logprobs is not None
    logprobs = (body.top_logprobs or 0) if scored else None
    requests = [
        _request(hub, user, body, prompt, wanted, logprobs, choice) for choice in range(body.n or 1)
    ]
    ticket = await hub.begin(user, requests)
    writer = ChatWriter(hub.model)
    return await _respond(http, ticket, body, writer)


@router.post("/completions", response_model=None, responses=ERRORS)
async def completions(http: HttpRequest, body: CompletionRequest, user: Caller) -> Response:
    """The continuation of a text."""
    hub = hub_of(http)
    check_model(hub, body.model)
    prompts = await run_in_threadpool(_prompts, hub, body)
    requests = [
        _request(hub, user, body, prompt, body.max_tokens, body.logprobs, choice)
        for prompt in prompts
        for choice in range(body.n or 1)
    ]
    ticket = await hub.begin(user, requests)
    writer = TextWriter(hub, body, requests)
    return await _respond(http, ticket, body, writer)


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
    default = 16 if isinstance(body, CompletionRequest) else context
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


async def _respond(
    http: HttpRequest, ticket: Ticket, body: Common, writer: ChatWriter | TextWriter
) -> Response:
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(_events(ticket, writer, wants_usage), ticket.close)
    try:
        deltas = await unless_gone(http, _collect(ticket))
    finally:
        ticket.close()
    answer = writer.whole(deltas)
    answer["usage"] = formats.usage(ticket.prompt_tokens, ticket.completion_tokens)
    return JSONResponse(answer)


def failure(delta: Delta) -> ApiError:
    """The error that ended an answer."""
    message = delta.error or "the engine failed"
    if delta.status < 500:
        return ApiError(delta.status, message, code="engine_refused")
    return ApiError(delta.status, message, code="engine_failed", retry_after=3)


async def _collect(ticket: Ticket) -> list[list[Delta]]:
    deltas: list[list[Delta]] = [[] for _ in ticket.requests]
    async for index, delta in ticket:
        if delta.error is not None:
            raise failure(delta)
        deltas[index].append(delta)
    return deltas


async def _events(
    ticket: Ticket, writer: ChatWriter | TextWriter, wants_usage: bool
) -> AsyncIterator[str]:
    async for index, delta in ticket:
        if delta.error is not None:
            yield event(failure(delta).body())
            return
        if delta.text or delta.finish or delta.logprobs or delta.prompt_logprobs:
            yield event(writer.chunk(index, delta))
    if wants_usage:
        yield event(writer.last(formats.usage(ticket.prompt_tokens, ticket.completion_tokens)))
    yield "data: [DONE]\n\n"
