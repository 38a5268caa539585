"""A conversation as the tokens that the model continues, cut to fit its context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opencolossus.data import chat
from opencolossus.data.documents import Message
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.specs.errors import UserError

STOP_TOKENS = (chat.END_ID, chat.BOS_ID, chat.USER_ID, chat.SYSTEM_ID, chat.ASSISTANT_ID)
"""An answer is over where the model ends it, or begins to speak for somebody else."""


@dataclass(frozen=True)
class Prompt:
    """The tokens, and how many of the oldest messages had to be left out."""

    tokens: tuple[int, ...]
    dropped: int


def encode(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[int, ...]:
    """All of the messages and the token after which the assistant speaks."""
    return tuple(tokenizer.encode_prompt(tuple(messages)))


def fit(tokenizer: Tokenizer, messages: Sequence[Message], room: int) -> Prompt:
    """The newest messages that fit into ``room`` tokens; a system message at the head stays.

    Raises:
        UserError: the last message alone is too long.
    """
    head = [message for message in messages[:1] if message.role == "system"]
    rest = messages[len(head) :]
    sizes = _sizes(tokenizer, rest, room)
    total = len(encode(tokenizer, head)) + sum(sizes)
    dropped = 0
    while total > room:
        left = len(rest) - dropped
        if left <= 1:
            raise UserError(
                f"the message has {total} tokens with what stands around it, and the model "
                f"can read {room}; write a shorter one"
            )
        # A question goes with its answer, so that what is left begins with a question.
        count = 2 if left > 2 and rest[dropped + 1].role == "assistant" else 1
        total -= sum(sizes[dropped : dropped + count])
        dropped += count
    return Prompt(encode(tokenizer, [*head, *rest[dropped:]]), dropped)


def _sizes(tokenizer: Tokenizer, messages: Sequence[Message], room: int) -> list[int]:
    """Tokens of each message; of those before the newest that fill the room, none is counted."""
    around = len(encode(tokenizer, []))
    sizes = [room + 1] * len(messages)
    total = 0
    for place in range(len(messages) - 1, -1, -1):
        sizes[place] = len(encode(tokenizer, [messages[place]])) - around
        total += sizes[place]
        if total > room:
            break
    return sizes
