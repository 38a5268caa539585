"""``log.jsonl``: what happened in a run, one event per line."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import IO, Any

from opencolossus.specs.errors import UserError
from opencolossus.specs.run_log import LOG
from opencolossus.train.telemetry import Sink, StepRecord


class Log(Sink):
    """Appends; what a process that was killed left behind stays.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self._file = self._open()

    def event(self, name: str, fields: dict[str, Any]) -> None:
        """Append one event with the time of day (s since 1970).

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        line = json.dumps({"event": name, "time": round(time.time(), 3), **_finite(fields)})
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from None

    def step(self, record: StepRecord) -> None:
        """Append a step."""
        self.event("step", record.figures())

    def close(self) -> None:
        """Close the file; a full disk was reported when the line was written."""
        try:
            self._file.close()
        except OSError:
            return

    def _open(self) -> IO[str]:
        try:
            file = self.path.open("a", encoding="utf-8")
            if _ends_torn(self.path):  # a process that was killed left half a line
                file.write("\n")
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from None
        return file


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read() != b"\n"


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    # JSON has no NaN: a reader that is strict must not choke on the very step that matters.
    return {
        k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()
    }
