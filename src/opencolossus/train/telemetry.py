"""What a run says about itself while it goes, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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
    joules: float | None = None
    """Energy of this step, over the GPUs of all processes; None where they cannot be read."""

    @property
    def power(self) -> float | None:
        """Mean over the step in W, of the GPUs of all processes."""
        return None if self.joules is None else self.joules / self.seconds

    @property
    def joules_per_token(self) -> float | None:
        """Energy of the step per token."""
        if self.joules is None:
            return None
        return self.joules / (self.tokens_per_second * self.seconds)

    def figures(self) -> dict[str, Any]:
        """Everything that this says, by name."""
        return {**vars(self), "power": self.power, "joules_per_token": self.joules_per_token}


class Sink:
    """Somewhere that a run's figures go; this one drops them."""

    def event(self, name: str, fields: dict[str, Any]) -> None:
        """Something that happened.

        Raises:
            UserError: it cannot be written.
        """

    def step(self, record: StepRecord) -> None:
        """A step that was taken.

        Raises:
            UserError: it cannot be written.
        """

    def close(self) -> None:
        """Write what is still held back."""


class Telemetry:
    """All the places that a run's figures go to; none at any process but the first."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = sinks

    def event(self, name: str, **fields: Any) -> None:
        """Tell all of something that happened."""
        for sink in self._sinks:
            sink.event(name, fields)

    def step(self, record: StepRecord) -> None:
        """Tell all of a step."""
        for sink in self._sinks:
            sink.step(record)

    def close(self) -> None:
        """Close all."""
        for sink in self._sinks:
            sink.close()
