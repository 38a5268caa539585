"""What a corpus is made of: documents, each a text or a conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple, cast

ROLES = ("system", "user", "assistant")


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    """``system``, ``user`` or ``assistant``."""
    content: str


Conversation = tuple[Message, ...]
Document = str | Conversation


class DocumentError(ValueError):
    """A record that is no document; the reader adds the place and raises a ``UserError``."""


def conversation(messages: object) -> Conversation:
    """The conversation in a decoded ``messages`` list of ``{role, content}``.

    Empty turns are left out, blanks at the ends of a turn are removed.

    Raises:
        DocumentError: it is no list, or a message lacks a known role or a text.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise DocumentError("messages is not a list of {role, content}")
    turns = (_message(item) for item in messages)
    return tuple(turn for turn in turns if turn.content)


def _message(item: object) -> Message:
    if not isinstance(item, dict):
        raise DocumentError("a message is not an object with role and content")
    fields = cast(dict[str, Any], item)
    role, content = fields.get("role"), fields.get("content")
    if role not in ROLES:
        raise DocumentError(f"a message has the role {role!r}; known are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise DocumentError(f"the content of a message of {role} is not a text")
    return Message(role, plain(content))


def plain(text: str) -> str:
    """The text without blanks at its ends; half characters (lone surrogates) become ``?``."""
    return text.strip().encode("utf-8", "replace").decode("utf-8")


def texts_of(document: Document) -> list[str]:
    """The pieces of text in the document, without roles."""
    return [document] if isinstance(document, str) else [turn.content for turn in document]


def content_bytes(document: Document) -> int:
    """Bytes of text (UTF-8) in the document, without roles and special tokens."""
    return sum(len(text.encode()) for text in texts_of(document))


def digest(document: Document) -> bytes:
    """SHA-256 of what the document says: equal documents agree, wherever they stand."""
    return sha256(json.dumps(document, ensure_ascii=False).encode()).digest()
