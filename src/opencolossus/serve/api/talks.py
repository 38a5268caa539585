"""The page's routes for conversations."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from opencolossus.data.documents import Message as Turn
from opencolossus.data.documents import plain
from opencolossus.serve import request as engine
from opencolossus.serve.accounts import conversations
from opencolossus.serve.accounts.tables import Conversation, Message, User
from opencolossus.serve.api.accounts import SignedIn, Strict
from opencolossus.serve.api.auth import hub_of
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.reply import Reply, shown_message
from opencolossus.serve.api.streams import EventStream
from opencolossus.serve.api.ticket import admit
from opencolossus.serve.prompt import STOP_TOKENS, fit

router = APIRouter(prefix="/app", include_in_schema=False)
LONGEST_ANSWER = 1024
DEFAULT_TEMPERATURE = 0.8
TOP_P = 0.95

Text = Annotated[str, Field(max_length=100_000)]
Temperature = Annotated[float, Field(ge=0, le=2)]


class NewTalk(Strict):
    """A conversation to begin."""

    system: Text = ""
    temperature: Temperature | None = None


class Changes(Strict):
    """What to change of a conversation; left out stays."""

    title: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    system: Text | None = None
    temperature: Temperature | None = None


class Question(Strict):
    """What to answer.

    ``place``: messages from this one on are dropped first (an edit, or another answer).
    ``content``: a new message of the user; left out, the last one is answered.
    """

    content: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    place: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


def _talk(talk: Conversation) -> dict[str, Any]:
    return {
        "id": talk.id,
        "title": talk.title,
        "system": talk.system,
        "temperature": DEFAULT_TEMPERATURE if talk.temperature is None else talk.temperature,
        "updated": talk.updated,
    }


def _mine(begin: Session, user: User, talk_id: str) -> Conversation:
    talk = conversations.get(begin, user, talk_id)
    if talk is None:
        raise ApiError(404, "you have no such conversation")
    return talk


@router.get("/conversations")
async def listing(request: Request, user: SignedIn, search: str = "") -> list[dict[str, Any]]:
    """The user's conversations, newest first."""
    found = await hub_of(request).read(
        lambda begin: conversations.listing(begin, user, search[:200].replace("\0", ""))
    )
    return [_talk(talk) for talk in found]


@router.post("/conversations")
async def create(request: Request, body: NewTalk, user: SignedIn) -> dict[str, Any]:
    """Begin a conversation."""
    system = plain(body.system).replace("\0", "")
    return _talk(
        await hub_of(request).write(
            lambda begin: conversations.create(begin, user, system, body.temperature)
        )
    )


@router.get("/conversations/{talk_id}")
async def show(request: Request, talk_id: str, user: SignedIn) -> dict[str, Any]:
    """A conversation with its messages."""

    def find(begin: Session) -> tuple[Conversation, list[Message]]:
        talk = _mine(begin, user, talk_id)
        return talk, conversations.messages(begin, talk)

    talk, turns = await hub_of(request).read(find)
    return {**_talk(talk), "messages": [shown_message(turn) for turn in turns]}


@router.patch("/conversations/{talk_id}")
async def change(request: Request, talk_id: str, body: Changes, user: SignedIn) -> dict[str, Any]:
    """Rename a conversation, or change its instructions or temperature."""

    def write(begin: Session) -> Conversation:
        talk = _mine(begin, user, talk_id)
        if body.title is not None:
            talk.title = conversations.short_title(plain(body.title).replace("\0", ""))
        if body.system is not None:
            talk.system = plain(body.system).replace("\0", "")
        if body.temperature is not None:
            talk.temperature = body.temperature
        return talk

    return _talk(await hub_of(request).write(write))


@router.delete("/conversations/{talk_id}")
async def delete(request: Request, talk_id: str, user: SignedIn) -> dict[str, Any]:
    """Delete a conversation."""
    if not await hub_of(request).erase(lambda b: conversations.remove(b, user, talk_id)):
        raise ApiError(404, "you have no such conversation")
    return {}


@router.delete("/conversations")
async def delete_all(request: Request, user: SignedIn) -> dict[str, Any]:
    """Delete all conversations."""
    await hub_of(request).erase(lambda begin: conversations.remove_all(begin, user))
    return {}


@router.get("/export")
async def export(request: Request, user: SignedIn) -> Response:
    """All conversations in one file."""
    found = await hub_of(request).read(lambda begin: conversations.export(begin, user))
    return Response(
        json.dumps(found, ensure_ascii=False, indent=1),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="conversations.json"'},
    )


@router.post("/conversations/{talk_id}/answer", response_model=None)
async def answer(request: Request, talk_id: str, body: Question, user: SignedIn) -> Response:
    """Answer a message, as server-sent events."""
    hub = hub_of(request)
    content = None if body.content is None else plain(body.content).replace("\0", "")
    if content == "":
        raise ApiError(400, "the message is empty", param="content")

    def ask(begin: Session) -> tuple[Conversation, list[Message]]:
        talk = _mine(begin, user, talk_id)
        turns = conversations.messages(begin, talk)
        if body.place is not None:
            turns = [turn for turn in turns if turn.place < body.place]
        if content is not None:
            turns.append(Message(role="user", content=content, place=-1))
        if not turns or turns[-1].role != "user":
            raise ApiError(409, "there is no message to answer")
        return talk, turns

    talk, turns = await hub.read(ask)
    asked, dropped = await run_in_threadpool(_request, hub, user, talk, turns)
    # Admitted first and stored then: a message that was refused leaves no trace.
    ticket = await admit(hub, user, [asked])
    try:
        talk, turns = await hub.write(lambda begin: _store(begin, user, talk_id, body, content))
    except BaseException:
        ticket.close()
        raise
    reply = Reply(hub, user, talk, turns[-1].place, ticket)
    return EventStream(reply.events(shown_message(turns[-1]), dropped), reply.close)


def _store(
    begin: Session, user: User, talk_id: str, body: Question, content: str | None
) -> tuple[Conversation, list[Message]]:
    talk = _mine(begin, user, talk_id)
    if body.place is not None:
        conversations.cut_from(begin, talk, body.place)
    if content is not None:
        conversations.append(begin, talk, "user", content)
    turns = conversations.messages(begin, talk)
    if not turns or turns[-1].role != "user":
        raise ApiError(409, "the conversation has changed meanwhile; load it again")
    return talk, turns


def _request(
    hub: Hub, user: User, talk: Conversation, turns: list[Message]
) -> tuple[engine.Request, int]:
    said = [Turn(turn.role, turn.content) for turn in turns if turn.content]
    if talk.system:
        said.insert(0, Turn("system", talk.system))
    context = hub.engine.context
    # Half of a small context is kept for the answer.
    prompt = fit(hub.tokenizer, said, context - min(LONGEST_ANSWER, context // 2))
    temperature = DEFAULT_TEMPERATURE if talk.temperature is None else talk.temperature
    asked = engine.Request(
        id=uuid.uuid4().hex,
        prompt=prompt.tokens,
        max_tokens=min(LONGEST_ANSWER, context - len(prompt.tokens)),
        sampling=engine.Sampling(temperature=temperature, top_p=TOP_P),
        stop_tokens=STOP_TOKENS,
        user=str(user.id),
    )
    return asked, prompt.dropped
