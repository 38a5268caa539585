"""The routes under /v1, for OpenAI's clients and those of others who speak like them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response

from opencolossus.serve.accounts.tables import User
from opencolossus.serve.api import formats, rates
from opencolossus.serve.api.asking import chat_requests, check_model, text_requests
from opencolossus.serve.api.auth import api_user, hub_of
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.schemas import ChatRequest, Common, CompletionRequest
from opencolossus.serve.api.streams import EventStream, event, unless_gone
from opencolossus.serve.api.ticket import Ticket, admit
from opencolossus.serve.api.writers import ChatWriter, TextWriter
from opencolossus.serve.request import Delta

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
ANSWERS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {"headers": rates.DOCUMENTED},
    429: {**ERRORS[429], "headers": {**rates.DOCUMENTED, "Retry-After": rates.RETRY_AFTER}},
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
        "created": int(hub.created),
        "owned_by": "colossus",
        "context_length": hub.engine.context,
    }


@router.post("/chat/completions", response_model=None, responses=ANSWERS)
async def chat_completions(http: HttpRequest, body: ChatRequest, user: Caller) -> Response:
    """The next message of a conversation."""
    hub = hub_of(http)
    check_model(hub, body.model)
    requests = await chat_requests(hub, user, body)
    ticket = await admit(hub, user, requests)
    writer = ChatWriter(hub.model, bool(body.stream_options and body.stream_options.include_usage))
    return await _respond(http, ticket, body, writer)


@router.post("/completions", response_model=None, responses=ANSWERS)
async def completions(http: HttpRequest, body: CompletionRequest, user: Caller) -> Response:
    """The continuation of a text."""
    hub = hub_of(http)
    check_model(hub, body.model)
    requests = await text_requests(hub, user, body)
    ticket = await admit(hub, user, requests)
    writer = TextWriter(hub, body, requests)
    return await _respond(http, ticket, body, writer)


async def _respond(
    http: HttpRequest, ticket: Ticket, body: Common, writer: ChatWriter | TextWriter
) -> Response:
    if body.stream:
        return EventStream(_events(ticket, writer, body), ticket.close, ticket.headers)
    try:
        deltas = await unless_gone(http, _collect(ticket))
    finally:
        ticket.close()
    answer = writer.whole(deltas)
    answer["usage"] = _usage(ticket, body)
    return JSONResponse(answer, headers=ticket.headers)


def _usage(ticket: Ticket, body: Common) -> dict[str, Any]:
    # Where nothing was asked for, a token was made all the same, and not given out.
    wanted = isinstance(body, ChatRequest) or body.max_tokens != 0
    said = ticket.completion_tokens if wanted else 0
    return formats.usage(ticket.prompt_tokens, said, ticket.reused_tokens)


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
    ticket: Ticket, writer: ChatWriter | TextWriter, body: Common
) -> AsyncIterator[str]:
    async for index, delta in ticket:
        if delta.error is not None:
            yield event(failure(delta).body())
            return
        said = ""
        if delta.text or delta.finish or delta.logprobs or delta.prompt_logprobs:
            said = event(writer.chunk(index, delta))
        if ticket.finished:
            # With the last piece: every write to a socket costs more than all of this.
            if body.stream_options and body.stream_options.include_usage:
                said += event(writer.last(_usage(ticket, body)))
            said += "data: [DONE]\n\n"
        if said:
            yield said
