"""Prometheus gauges of a run: in a file for the textfile collector, and on a port."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opencolossus.specs.errors import UserError
from opencolossus.train.telemetry import Sink, StepRecord

if TYPE_CHECKING:
    from prometheus_client import Gauge

TEXTFILE = "metrics.prom"
"""In Prometheus' text format, for the textfile collector of node_exporter."""
_TEXTFILE_EVERY = 5.0  # s

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
    "power": "Mean power of the GPUs of all processes in the last step in watts",
    "joules_per_token": "Energy of the GPUs in the last step per token",
}
EVALUATIONS = {"bits_per_byte": "Bits per byte of held-out text at the last evaluation"}


class Gauges(Sink):
    """Always in ``metrics.prom``, and on a port where one is given.

    Raises:
        UserError: the port cannot be listened on.
    """

    def __init__(self, folder: Path, port: int | None) -> None:
        from prometheus_client import CollectorRegistry, Gauge

        self._registry = CollectorRegistry()
        self._path = folder / TEXTFILE
        self._kind = Gauge
        self._gauges: dict[str, Gauge] = {}
        self._written = -math.inf
        if port is not None:
            self._listen(port)

    def event(self, name: str, fields: dict[str, Any]) -> None:
        """Keep the figures of an evaluation."""
        if name == "evaluation":
            self._set(fields, EVALUATIONS)

    def step(self, record: StepRecord) -> None:
        """Set all gauges; the file follows every few seconds."""
        self._set(record.figures(), GAUGES)
        if time.monotonic() - self._written > _TEXTFILE_EVERY:
            self.close()

    def close(self) -> None:
        """Write the file now.

        Raises:
            UserError: it cannot be written.
        """
        from prometheus_client import write_to_textfile

        self._written = time.monotonic()
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None

    def _set(self, figures: dict[str, Any], known: dict[str, str]) -> None:
        """A gauge appears with its first value: none stands at 0 for what nobody measured."""
        for name, text in known.items():
            if figures[name] is None:
                continue
            if name not in self._gauges:
                full = f"colossus_train_{name}"
                self._gauges[name] = self._kind(full, text, registry=self._registry)
            self._gauges[name].set(figures[name])

    def _listen(self, port: int) -> None:
        from prometheus_client import start_http_server

        try:
            start_http_server(port, registry=self._registry)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--metrics-port {port} cannot be listened on ({error}); 9400 usually can"
            ) from None
