"""Times the steps of a run and tells of them."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

from opencolossus.train.console import Progress
from opencolossus.train.energy import Energy
from opencolossus.train.engine import Sums
from opencolossus.train.memory import peak_memory
from opencolossus.train.setup import Training
from opencolossus.train.stop import Stop
from opencolossus.train.telemetry import StepRecord, Telemetry

RECENT = 20
"""Steps that the time of the next one is judged by."""


@dataclass(frozen=True)
class Surroundings:
    """What a training loop talks to."""

    shown: Progress
    told: Telemetry
    stop: Stop
    energy: Energy
    peak_flops: float | None
    """That MFU is measured against; None where it is not known."""


class Recorder:
    """What is known of the steps that this start of a run has taken."""

    def __init__(self, training: Training, around: Surroundings) -> None:
        run = training.description.run
        self._training, self._around = training, around
        self._flops = training.description.model.training_flops_per_token(run.sequence)
        self.step_tokens = training.step_tokens
        self.times: list[float] = []
        """Seconds of each step of this process."""
        self._recent: deque[float] = deque(maxlen=RECENT)

    @property
    def usual(self) -> float:
        """Seconds of a recent step; 0 before the first."""
        return statistics.median(self._recent) if self._recent else 0.0

    def left(self, elapsed: float) -> float:
        """Seconds to go, after ``elapsed`` of training."""
        by_steps = (self._training.steps - self._training.position.step) * self.usual
        limit = self._training.description.run.time_limit
        return by_steps if limit is None else min(by_steps, max(limit - elapsed, 0.0))

    def record(self, sums: Sums, rate: float, load: float | None, seconds: float) -> StepRecord:
        """Tell all who listen of the step that was just taken."""
        training, peak = self._training, self._around.peak_flops
        self.times.append(seconds)
        self._recent.append(seconds)
        speed = self.step_tokens / seconds
        record = StepRecord(
            step=training.position.step,
            tokens=training.position.tokens,
            loss=sums.loss,
            gradient_norm=sums.norm,
            learning_rate=rate,
            seconds=seconds,
            tokens_per_second=speed,
            mfu=speed * self._flops / peak if peak else None,
            expert_load=load,
            epoch=training.loader.epoch,
            row=training.loader.position,
            skipped=training.guard.skipped,
            memory=peak_memory(training.device),
            joules=self._around.energy.spent(),
        )
        self._around.told.step(record)
        return record
