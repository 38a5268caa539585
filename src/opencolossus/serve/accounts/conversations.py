"""Conversations of the page. Every function is given the user, and sees no other's."""

from __future__ import annotations

import secrets
import time
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session as Transaction

from opencolossus.serve.accounts.tables import Conversation, Message, User

UNTITLED = "New conversation"
TITLE_LENGTH = 60


def create(begin: Transaction, user: User, system: str, temperature: float | None) -> Conversation:
    """Begin a conversation."""
    now = time.time()
    talk = Conversation(
        id=secrets.token_hex(16), user_id=user.id, title=UNTITLED, system=system,
        temperature=temperature, created=now, updated=now,
    )  # fmt: skip
    begin.add(talk)
    begin.flush()
    return talk


def get(begin: Transaction, user: User, talk_id: str) -> Conversation | None:
    """A conversation of this user, or None."""
    return begin.scalar(
        select(Conversation).where(Conversation.id == talk_id, Conversation.user_id == user.id)
    )


def listing(
    begin: Transaction, user: User, search: str = "", limit: int = 200
) -> list[Conversation]:
    """The user's conversations, newest first; with ``search``, those that contain it."""
    query = select(Conversation).where(Conversation.user_id == user.id)
    if search:
        pattern = f"%{_escape(search)}%"
        inside = select(Message.conversation_id).where(Message.content.ilike(pattern, escape="\\"))
        query = query.where(
            or_(Conversation.title.ilike(pattern, escape="\\"), Conversation.id.in_(inside))
        )
    return list(begin.scalars(query.order_by(Conversation.updated.desc()).limit(limit)))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def messages(begin: Transaction, talk: Conversation) -> list[Message]:
    """The turns of a conversation, in order."""
    return list(
        begin.scalars(
            select(Message).where(Message.conversation_id == talk.id).order_by(Message.place)
        )
    )


def append(
    begin: Transaction, talk: Conversation, role: str, content: str, finish: str | None = None
) -> Message:
    """Add a turn; the first one of a user names the conversation."""
    last = begin.scalar(select(func.max(Message.place)).where(Message.conversation_id == talk.id))
    now = time.time()
    message = Message(
        conversation_id=talk.id, place=0 if last is None else last + 1, role=role,
        content=content, finish=finish, created=now,
    )  # fmt: skip
    begin.add(message)
    talk.updated = now
    if role == "user" and talk.title == UNTITLED:
        talk.title = short_title(content)
    begin.flush()
    return message


def short_title(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line or UNTITLED
    return line[:TITLE_LENGTH].rsplit(" ", 1)[0] + "…"


def cut_from(begin: Transaction, talk: Conversation, place: int) -> None:
    """Delete the turns from ``place`` on (to edit one, or to answer again)."""
    begin.execute(delete(Message).where(Message.conversation_id == talk.id, Message.place >= place))


def remove(begin: Transaction, user: User, talk_id: str) -> bool:
    """Delete a conversation of this user; False if this user has no such conversation."""
    talk = get(begin, user, talk_id)
    if talk is None:
        return False
    begin.delete(talk)
    return True


def remove_all(begin: Transaction, user: User) -> None:
    """Delete every conversation of a user."""
    begin.execute(delete(Conversation).where(Conversation.user_id == user.id))


def export(begin: Transaction, user: User) -> list[dict[str, Any]]:
    """All conversations of a user as plain data."""
    return [
        {
            "id": talk.id,
            "title": talk.title,
            "system": talk.system,
            "temperature": talk.temperature,
            "created": talk.created,
            "updated": talk.updated,
            "messages": [
                {
                    "role": turn.role,
                    "content": turn.content,
                    "finish": turn.finish,
                    "created": turn.created,
                }
                for turn in messages(begin, talk)
            ],
        }
        for talk in listing(begin, user, limit=1_000_000)
    ]
