"""The corpus ``chitchat``: real conversations between two students, from the PyPI package
``chitchat-dataset`` (BYU Perception, Control and Cognition Laboratory, 2018; MIT licence)."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from opencolossus.data.documents import Conversation, Message, plain
from opencolossus.specs.errors import UserError

_LOWEST_RATING = 2.0  # mean of witty, upbeat and interesting, which its readers gave from 1 to 10
_NOISE = 5.0  # mean characters of a message, below which a turn is somebody's cat on the keyboard

_GREETING = re.compile(
    r"(hi+|hello+|he+y+a?|yo+|sup|howdy|hola|wh?at'?s? up|wassup|good (morning|evening|afternoon)"
    r"|how are you|how'?s it going|greetings)\b",
    re.IGNORECASE,
)


def raw() -> bytes:
    """The package's data file.

    Raises:
        UserError: the package is not installed.
    """
    if find_spec("chitchat_dataset") is None:
        raise UserError(
            "run.data.corpus chitchat needs the package chitchat-dataset: "
            'pip install "opencolossus[demo]"'
        )
    return importlib.resources.files("chitchat_dataset").joinpath("dataset.json").read_bytes()


def conversations() -> Iterator[Conversation]:
    """The conversations worth learning from, the first speaker as the user.

    Left out: monologues, conversations that were rated below 2 of 10 on the mean, and those in
    which somebody hammered on the keyboard to be noticed.
    """
    for record in json.loads(raw()).values():
        turns = list(_turns(record["messages"]))
        if len(turns) > 1 and _good(record, turns):
            yield _conversation(record.get("prompt"), turns)


def _turns(messages: Iterable[list[dict[str, str]]]) -> Iterator[list[str]]:
    """What one speaker wrote until the other answered, message by message."""
    speaker, said = "", list[str]()
    for message in (m for burst in messages for m in burst):
        if message["sender"] != speaker and said:
            yield said
            said = []
        speaker = message["sender"]
        if text := plain(message["text"]):
            said.append(text)
    if said:
        yield said


def _good(record: dict[str, Any], turns: list[list[str]]) -> bool:
    ratings = record.get("ratings") or {}
    if ratings and sum(ratings.values()) / len(ratings) < _LOWEST_RATING:
        return False
    return not any(len(said) > 8 and sum(map(len, said)) / len(said) < _NOISE for said in turns)


def _conversation(prompt: str | None, turns: list[list[str]]) -> Conversation:
    """The conversation with its topic, which both were shown, as the system message.

    Who opens with a greeting has not taken the topic up, and it is left out.
    """
    spoken = tuple(
        Message("assistant" if n % 2 else "user", "\n".join(said)) for n, said in enumerate(turns)
    )
    if not prompt or _GREETING.match(spoken[0].content):
        return spoken
    return (Message("system", plain(prompt)), *spoken)
