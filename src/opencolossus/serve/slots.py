"""Which slot a new answer takes, and what of its prompt is known already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from opencolossus.serve.request import longest_common_prefix


@dataclass
class Slot:
    """What a slot holds, running or not."""

    tokens: list[int] = field(default_factory=list)
    """Those whose keys and values are there."""
    left: int = 0
    """When its last answer ended: a count that grows; 0 for a slot that had none."""


@dataclass(frozen=True)
class Place:
    """Where an answer goes, and the slot whose first ``reused`` tokens its prompt begins with."""

    slot: int
    source: int
    reused: int


def place(slots: Sequence[Slot], running: int, prompt: Sequence[int]) -> Place:
    """The place for a prompt; slots from ``running`` on are idle, and there is one.

    A conversation goes on in its own slot. What others hold is copied from there, and the slot
    given up is the one that was left longest ago, so that their conversations stay known too.
    """
    common = [longest_common_prefix(slot.tokens, prompt) for slot in slots]
    source = max(range(len(slots)), key=lambda i: (common[i], i >= running, -len(slots[i].tokens)))
    reused = common[source]
    lost = len(slots[source].tokens) - reused
    # A few more tokens than were kept: a stop string's, or an answer that is written anew.
    if source >= running and lost * 8 <= reused:
        return Place(source, source, reused)
    oldest = min(range(running, len(slots)), key=lambda i: slots[i].left)
    return Place(oldest, source, reused)
