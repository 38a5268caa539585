"""The training loop: step after step, until the tokens, the time or a signal end it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch

from opencolossus.data.batch import Batch as Rows
from opencolossus.plan.mode import micro_rows
from opencolossus.train import batches, world
from opencolossus.train.allocator import keep_freed_memory
from opencolossus.train.engine import Sums
from opencolossus.train.evaluate import bits_per_byte
from opencolossus.train.recorder import Recorder, Surroundings
from opencolossus.train.saver import Saver
from opencolossus.train.schedule import factor, progress
from opencolossus.train.setup import Training


@dataclass(frozen=True)
class Moment:
    """What the processes agree on before a step: the largest of what each says."""

    elapsed: float
    """Seconds of training so far."""
    signal: int
    """That asked a process to end; 0 for none."""
    usual: float
    """Seconds of a recent step."""
    overdue: float
    """Seconds since the last checkpoint, per seconds that should lie between two."""


class Found(NamedTuple):
    """What the forward and backward passes of a step found."""

    sums: Sums
    load: float | None
    """Tokens of the busiest expert per mean, largest over layers."""


class Loop:
    """Takes a training from where it is to its end."""

    def __init__(self, training: Training, around: Surroundings) -> None:
        self.training, self.around = training, around
        if training.device.type == "cpu":
            keep_freed_memory()
        self.shown, self.told = around.shown, around.told
        self.run = training.description.run
        self.recorder = Recorder(training, around)
        self.saver = Saver(training)
        self.now = Moment(training.position.elapsed, 0, 0.0, 0.0)
        """What all processes agreed on before this step."""

    def go(self) -> str:
        """Train until something ends it; returns what that was.

        Raises:
            UserError: a checkpoint cannot be written, or the run does not recover.
        """
        while (reason := self._end()) is None:
            self._step()
            if self.saver.due(self.now.overdue):
                self._save()
            self._evaluate_now_and_then()
        self._save()
        self.training.store.wait()
        return reason

    def _step(self) -> None:
        training, began = self.training, time.perf_counter()
        found = self._gradients()
        if found is None:
            return
        sums, load = found
        fault = training.guard.fault(sums.loss, sums.norm)
        rate = factor(self.run.schedule, self._share())
        if fault is None:
            training.engine.move(rate)
        else:
            training.engine.discard()
        training.position.step += 1
        training.position.tokens += training.step_tokens
        record = self.recorder.record(sums, rate, load, time.perf_counter() - began)
        self.shown.step(record, self._share(), self.recorder.left(self.saver.elapsed))
        if fault is not None:
            self._say_skipped(fault)

    def _gradients(self) -> Found | None:
        """Gradients of the next batch; None if the step has to be taken again."""
        training = self.training
        rows = self._rows()
        micro = micro_rows(training.layout.micro_batch, len(rows))
        parts = batches.split(batches.to_device(rows, training.device), micro)
        sums = training.engine.gradients(parts)
        return Found(sums, self._expert_load())

    def _rows(self) -> Rows:
        """What this process reads of the next batch."""
        return self.training.loader.next_batch()

    def _save(self) -> None:
        if self.saver.save():
            self.told.event("checkpoint", step=self.training.position.step)

    def _say_skipped(self, fault: str) -> None:
        step = self.training.position.step
        self.told.event("skipped", step=step, why=fault)
        self.shown.note(f"step {step} skipped: {fault}")
        if self.training.guard.must_roll_back:
            self._roll_back()

    def _roll_back(self) -> None:
        back = self.saver.roll_back()
        step = self.training.position.step
        self.told.event("rollback", step=step, to=back)
        self.shown.note(
            f"step {step}: back to the weights of step {back}; the data in between are passed over"
        )

    def _evaluate_now_and_then(self) -> None:
        every, step = self.run.evaluate_every, self.training.position.step
        if every is None or step % every or self._share() >= 1.0:
            return
        found = bits_per_byte(self.training)
        self.told.event("evaluation", step=step, bits_per_byte=found)
        self.shown.note(f"step {step}: {found:.3f} bits per byte of held-out text")

    def _expert_load(self) -> float | None:
        loads, mine = self.training.engine.loads(), 0.0
        if loads:
            # All layers at once: the host waits for a GPU only here.
            load_LE = torch.stack(loads)
            mine = float((load_LE.amax(1) / load_LE.mean(1).clamp_min(1e-9)).max())
        found = world.most([mine])[0]
        return found or None

    def _end(self) -> str | None:
        self.now = self._agree()
        if self.now.signal:
            return signal.Signals(self.now.signal).name
        if self.training.position.step >= self.training.steps:
            return "tokens"
        limit = self.run.time_limit
        if limit is not None and self.now.elapsed + self.now.usual > limit:
            return "time limit"
        return None

    def _agree(self) -> Moment:
        """One clock and one will for all processes, or their learning rates would differ."""
        asked = float(self.around.stop.signal or 0)
        mine = [self.saver.elapsed, asked, self.recorder.usual, self.saver.overdue]
        elapsed, asked, usual, overdue = world.most(mine)
        return Moment(elapsed, int(asked), usual, overdue)

    def _share(self) -> float:
        seen, tokens = self.training.position.tokens, self.training.all_tokens
        return progress(seen, tokens, self.now.elapsed, self.run.time_limit)
