"""``log.jsonl`` of a training run, as everybody reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opencolossus.specs.errors import UserError

LOG = "log.jsonl"
Event = dict[str, Any]
NUMBER = (int, float)
FIGURES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "start": {"step": int},
    "step": {"step": int, "tokens": int, "seconds": NUMBER, "skipped": int, "loss": (*NUMBER, str)},
    "evaluation": {"step": int, "bits_per_byte": NUMBER},
    "rollback": {"step": int, "to": int},
}
"""What an event of a kind has in every log; a loss that is no number is told by its name."""


def events(run: Path) -> list[Event]:
    """What happened in a run, oldest first.

    A process that was killed leaves half a line, a bad disk a wrong one: lines that are no event,
    or lack what events of their kind have, are left out, for a log is told, not trusted.

    Raises:
        UserError: the folder has no log, or it cannot be read.
    """
    log = run / LOG
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(
            f"{log} cannot be read: {error.strerror or error}; give the folder of a run, for "
            "example runs/tiny"
        ) from None
    return [event for event in map(_event, lines) if event]


def _event(line: str) -> Event | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not (isinstance(found, dict) and isinstance(found.get("event"), str)):
        return None
    needed = FIGURES.get(found["event"], {})
    return found if all(isinstance(found.get(k), kind) for k, kind in needed.items()) else None
