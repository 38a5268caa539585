"""What a run says about itself while it goes: JSON lines, and Prometheus gauges."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from prometheus_client import Gauge

LOG = "log.jsonl"
TEXTFILE = "metrics.prom"
"""In Prometheus' text format, for the textfile collector of node_exporter."""
_TEXTFILE_EVERY = 5.0  # s


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step."""

    step: int
    """Steps done, this one included."""
    tokens: int
    """Tokens seen, this step included."""
    loss: float
    """Mean cross-entropy in nats per valid token."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    """As a share of the highest."""
    seconds: float
    tokens_per_second: float
    mfu: float | None
    """Model FLOP/s (3 x forward, no recompute) per peak; None where no peak is known."""
    expert_load: float | None
    """Tokens of the busiest expert per mean, largest over layers; 1 is perfect balance."""
    epoch: int
    row: int
    """Of the epoch's rows, the next to be read; with ``epoch`` the position in the data."""
    skipped: int
    """Steps skipped since the start of the run."""
    memory: int
    """Peak memory of the first process, in bytes."""


GAUGES = {
    "step": "Optimiser steps done",
    "tokens": "Tokens trained on",
    "loss": "Mean cross-entropy of the last step in nats per token",
    "gradient_norm": "Norm of the whole gradient before clipping",
    "learning_rate": "Learning rate as a share of its highest value",
    "tokens_per_second": "Tokens per second of the last step",
    "mfu": "Model FLOPs utilisation of the last step",
    "expert_load": "Tokens of the busiest expert per mean, largest over layers",
    "epoch": "Passes over the data begun",
    "row": "Next row of the epoch to be read",
    "skipped": "Steps skipped because they would have harmed the weights",
    "memory": "Peak memory of the first process in bytes",
}


class NoLog:
    """For all processes but the first."""

    def write(self, event: str, **fields: Any) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Nothing is open."""


class NoGauges:
    """For all processes but the first."""

    def show(self, record: StepRecord) -> None:
        """Show nothing."""

    def flush(self) -> None:
        """Write nothing."""


class Log(NoLog):
    """``log.jsonl``: one event per line, appended."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self._file = self._open()

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the time of day (s since 1970).

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        line = json.dumps({"event": event, "time": round(time.time(), 3), **_finite(fields)})
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from None

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


class Gauges(NoGauges):
    """Prometheus gauges: always in ``metrics.prom``, and on a port where one is given."""

    def __init__(self, folder: Path, port: int | None) -> None:
        from prometheus_client import CollectorRegistry, Gauge

        self._registry = CollectorRegistry()
        self._path = folder / TEXTFILE
        self._gauges: dict[str, Gauge] = {
            name: Gauge(f"colossus_train_{name}", text, registry=self._registry)
            for name, text in GAUGES.items()
        }
        self._written = -math.inf
        if port is not None:
            self._listen(port)

    def show(self, record: StepRecord) -> None:
        """Set all gauges; the file follows every few seconds."""
        for name, value in asdict(record).items():
            if name in self._gauges and value is not None:
                self._gauges[name].set(value)
        if time.monotonic() - self._written > _TEXTFILE_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the file now."""
        from prometheus_client import write_to_textfile

        self._written = time.monotonic()
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None

    def _listen(self, port: int) -> None:
        from prometheus_client import start_http_server

        try:
            start_http_server(port, registry=self._registry)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--metrics-port {port} cannot be listened on ({error}); 9400 usually can"
            ) from None


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
