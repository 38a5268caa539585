"""Where a number comes from, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How a number is known, best first."""

    MEASURED = "measured"
    """Read off an instrument, by whom the source tells."""
    VENDOR = "vendor"
    """The word of whoever made the thing: a data sheet, a paper about one's own model."""
    PRESS = "press"
    """Trade press, analysts, second-hand accounts."""
    DERIVED = "derived"
    """Arithmetic on sourced numbers; the note shows it."""
    ASSUMED = "assumed"
    """Nobody published it; a guess that the reader should replace."""


@dataclass(frozen=True)
class Source:
    """A publication that facts are taken from."""

    key: str
    title: str
    publisher: str = ""
    date: str = ""
    url: str = ""


@dataclass(frozen=True)
class Fact:
    """One value as it was written, with its evidence."""

    value: str | int | float | bool
    evidence: Evidence
    source: Source | None = None
    note: str = ""
