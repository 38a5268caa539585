"""What a run came to, for people and for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from opencolossus.specs.files import write_atomic
from opencolossus.specs.units import DURATION, ENERGY, SIZE, show
from opencolossus.train.predict import Prediction

RESULT = "result.json"
WARMING_UP = 5
"""First steps of a process, left out of its usual step time."""


@dataclass(frozen=True)
class Result:
    """The end of a run, or of the part that one start of it trained."""

    reason: str
    """``tokens``, ``time limit``, or the name of the signal that ended it."""
    finished: bool
    step: int
    tokens: int
    elapsed: float
    """Seconds of training, over all restarts."""
    skipped: int
    rollbacks: int
    bits_per_byte: float | None
    """On held-out text; None if the run was interrupted."""
    step_time: float | None
    """Median of this start, in s, its first steps left out."""
    tokens_per_second: float | None
    memory: int
    """Peak of the fullest process, in bytes."""
    predicted_step_time: float | None
    predicted_memory: float | None
    joules: float | None = None
    """Energy of the GPUs in the steps of this start; None where it cannot be read."""
    joules_per_token: float | None = None

    def save(self, folder: Path) -> None:
        """Write result.json."""
        write_atomic(folder / RESULT, json.dumps(asdict(self), indent=1) + "\n")

    def sentences(self) -> list[str]:
        """The same for a person."""
        said = [f"stopped by {self.reason} after {self.step} steps, {self.tokens:,} tokens"]
        if self.finished:
            said = [f"trained {self.step} steps, {self.tokens:,} tokens in {_time(self.elapsed)}"]
        if self.bits_per_byte is not None:
            said.append(f"held-out text: {self.bits_per_byte:.3f} bits per byte")
        if self.skipped:
            said.append(f"skipped steps: {self.skipped}, returns to a checkpoint: {self.rollbacks}")
        if self.step_time is not None:
            said.append(_compared("step time", self.step_time, self.predicted_step_time, _time))
        said.append(_compared("memory", self.memory, self.predicted_memory, _size))
        if self.joules is not None and self.joules_per_token is not None:
            energy = show(self.joules, ENERGY, digits=3)
            said.append(f"energy of the GPUs: {energy}, {self.joules_per_token:.3g} J per token")
        return said


def usual_step_time(times: list[float]) -> float | None:
    """Median of the steps after the first few."""
    steady = times[WARMING_UP:]
    return statistics.median(steady) if steady else None


def expected(prediction: Prediction | None) -> tuple[float | None, float | None]:
    """Predicted step time and memory, where there are any."""
    return (prediction.step_time, prediction.memory) if prediction else (None, None)


def _compared(
    what: str, measured: float, predicted: float | None, write: Callable[[float], str]
) -> str:
    if predicted is None:
        return f"{what}: {write(measured)} measured"
    error = 100 * (predicted / measured - 1)
    return f"{what}: {write(predicted)} predicted, {write(measured)} measured ({error:+.0f} %)"


def _time(seconds: float) -> str:
    return show(seconds, DURATION, digits=3)


def _size(amount: float) -> str:
    return show(amount, SIZE, digits=3)
