"""An answer on its way to the page and into its conversation."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from opencolossus.serve.accounts import conversations
from opencolossus.serve.accounts.tables import Conversation, Message, User
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.markdown import render
from opencolossus.serve.api.streams import event
from opencolossus.serve.api.ticket import Ticket

LOG = logging.getLogger("colossus.serve")
UNSTORED = (
    "the server's database cannot be used right now; the answer is stored as soon as it is back"
)
RENDER_EVERY = 0.08
"""Seconds between two pictures of a growing answer; the eye wants no more."""


def shown_message(message: Message) -> dict[str, Any]:
    """A message as the page gets it."""
    return {
        "place": message.place,
        "role": message.role,
        "content": message.content,
        "html": render(message.content),
        "finish": message.finish,
    }


class Reply:
    """One answer on its way to the page and into the conversation."""

    def __init__(
        self, hub: Hub, user: User, talk: Conversation, place: int, ticket: Ticket
    ) -> None:
        self._hub = hub
        self._user = user
        self._talk = talk
        self._place = place
        """Of the message that is answered."""
        self._ticket = ticket
        self._text = ""
        self._finish = "cancelled"
        self._stored = False

    async def events(self, asked: dict[str, Any], dropped: int) -> AsyncIterator[str]:
        """What the page is told."""
        yield event({"asked": asked, "title": self._talk.title, "dropped": dropped})
        shown, last = "", 0.0
        async for _, delta in self._ticket:
            self._text += delta.text if self._text else delta.text.lstrip()
            if delta.finish is not None:
                self._finish = delta.finish
            if delta.error is not None:
                with suppress(SQLAlchemyError):  # `close` tries again
                    await self._save()
                yield event({"error": delta.error, "html": render(self._text)})
                return
            now = time.monotonic()
            if self._text != shown and now - last >= RENDER_EVERY:
                shown, last = self._text, now
                yield event({"html": render(shown)})
        try:
            message = await self._save()
        except SQLAlchemyError:  # `close` tries again
            yield event({"error": UNSTORED, "html": render(self._text)})
            return
        if message is None:
            yield event({"error": "the conversation has changed meanwhile; load it again"})
            return
        yield event({"done": shown_message(message)})

    def close(self) -> None:
        """Keep what was said, even if nobody listens any more."""
        self._ticket.close()
        if not self._stored:
            self._hub.later(self._keep())

    async def _keep(self) -> None:
        try:
            await self._hub.persist(self._write)
        except IntegrityError:
            pass  # it is there already, or the conversation is not any more
        except SQLAlchemyError as error:
            LOG.error("an answer is not stored: %s", str(error).splitlines()[0])

    async def _save(self) -> Message | None:
        message = await self._hub.write(self._write)
        self._stored = True
        return message

    def _write(self, begin: Session) -> Message | None:
        """Store the answer, unless its question is not the last message any more."""
        talk = conversations.get(begin, self._user, self._talk.id)
        if talk is None:
            return None
        turns = conversations.messages(begin, talk)
        if not turns or turns[-1].place != self._place or turns[-1].role != "user":
            return None
        return conversations.append(begin, talk, "assistant", self._text, self._finish)
