"""The training loop: step after step, until the tokens, the time or a signal end it."""

from __future__ import annotations

import signal
import statistics
import time
from collections import deque
from dataclasses import dataclass

from opencolossus.specs.errors import UserError
from opencolossus.train import batches, setup, silent, world
from opencolossus.train.console import Progress
from opencolossus.train.engine import Sums
from opencolossus.train.evaluate import bits_per_byte
from opencolossus.train.interval import save_interval
from opencolossus.train.memory import peak_memory
from opencolossus.train.schedule import factor, progress
from opencolossus.train.setup import Training
from opencolossus.train.stop import Stop
from opencolossus.train.telemetry import NoGauges, NoLog, StepRecord

MOST_ROLLBACKS = 3
"""Returns to a checkpoint after which a run gives up."""
FIRST_SAVE = 60.0
"""Seconds to the first checkpoint where the description says nothing; it shows what one costs."""
RECENT = 20
"""Steps that the time of the next one is judged by."""


@dataclass(frozen=True)
class Moment:
    """What the processes agree on before a step: the largest of what each says."""

    elapsed: float
    """Seconds of training so far."""
    signal: int
    """That asked a process to end; 0 for none."""
    usual: float
    """Seconds of a recent step."""
    due: float
    """Seconds since the last checkpoint, per seconds that should lie between two."""


class Loop:
    """Takes a training from where it is to its end."""

    def __init__(
        self,
        training: Training,
        shown: Progress,
        log: NoLog,
        gauges: NoGauges,
        stop: Stop,
        peak_flops: float | None,
    ) -> None:
        self.training, self.shown, self.log = training, shown, log
        self.gauges, self.stop = gauges, stop
        self.run = training.description.run
        self.peak_flops = peak_flops
        self.flops_per_token = training.description.model.training_flops_per_token(
            self.run.sequence
        )
        self.step_tokens = self.run.batch_sequences * self.run.sequence
        self.times: list[float] = []
        """Seconds of each step of this process."""
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._saved_at = time.monotonic()
        self._save_every = FIRST_SAVE
        self._saved_step = training.position.step
        self._began = time.monotonic() - training.position.elapsed
        self.now = Moment(training.position.elapsed, 0, 0.0, 0.0)
        """What all processes agreed on before this step."""

    def go(self) -> str:
        """Train until something ends it; returns what that was.

        Raises:
            UserError: a checkpoint cannot be written, the run does not recover, or a process does
                not answer.
        """
        try:
            while (reason := self._end()) is None:
                self._step()
                if self._due():
                    self.save()
                self._evaluate_now_and_then()
            self.save()
            self.training.store.wait()
        except RuntimeError as error:
            if world.size() == 1:
                raise
            raise silent.who(error, self.training.position.step) from error
        return reason

    def save(self) -> None:
        """Start a checkpoint, if there is anything new to keep."""
        training = self.training
        self._saved_at = time.monotonic()
        if training.position.step == self._saved_step:
            return
        training.position.elapsed = self._elapsed()
        state = training.state().to_json()
        training.store.save(training.position.step, training.engine.tensors(), state)
        self._saved_step = training.position.step
        self._save_every = save_interval(time.monotonic() - self._saved_at)
        self.log.write("checkpoint", step=training.position.step)

    def _step(self) -> None:
        training, began = self.training, time.perf_counter()
        share = self._share()
        rows = training.loader.next_batch()
        micro = batches.micro_rows(training.layout.micro_batch, len(rows))
        parts = batches.split(batches.to_device(rows, training.device), micro)
        sums = training.engine.gradients(parts)
        load = self._expert_load()
        fault = training.guard.fault(sums.loss, sums.norm)
        rate = factor(self.run.schedule, share)
        if fault is None:
            training.engine.move(rate)
        else:
            training.engine.discard()
        training.position.step += 1
        training.position.tokens += self.step_tokens
        self._record(sums, rate, load, time.perf_counter() - began)
        if fault is not None:
            self._say_skipped(fault)

    def _say_skipped(self, fault: str) -> None:
        step = self.training.position.step
        self.log.write("skipped", step=step, why=fault)
        self.shown.note(f"step {step} skipped: {fault}")
        if self.training.guard.must_roll_back:
            self._roll_back()

    def _roll_back(self) -> None:
        training = self.training
        training.store.wait()
        step = training.store.newest_sound()
        position = training.position
        position.rollbacks += 1
        if step is None or position.rollbacks > MOST_ROLLBACKS:
            raise UserError(
                f"the run does not recover: step {position.step} and those before it had to be "
                f"skipped; lower run.optimiser.learning_rate "
                f"({self.run.optimiser.learning_rate:g}) and resume"
            )
        setup.load_tensors(training, step)
        training.guard.in_a_row = 0
        self.log.write("rollback", step=position.step, to=step)
        self.shown.note(
            f"step {position.step}: back to the weights of step {step}; the data in between are "
            "passed over"
        )

    def _record(self, sums: Sums, rate: float, load: float | None, seconds: float) -> None:
        training = self.training
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
            mfu=speed * self.flops_per_token / self.peak_flops if self.peak_flops else None,
            expert_load=load,
            epoch=training.loader.epoch,
            row=training.loader.position,
            skipped=training.guard.skipped,
            memory=peak_memory(training.device),
        )
        self.log.write("step", **vars(record))
        self.gauges.show(record)
        self.shown.step(record, self._share(), self._left())

    def _evaluate_now_and_then(self) -> None:
        every, step = self.run.evaluate_every, self.training.position.step
        if every is None or step % every or self._share() >= 1.0:
            return
        found = bits_per_byte(self.training)
        self.log.write("evaluation", step=step, bits_per_byte=found)
        self.shown.note(f"step {step}: {found:.3f} bits per byte of held-out text")

    def _expert_load(self) -> float | None:
        worst = [
            float(load.max() / load.mean().clamp_min(1e-9)) for load in self.training.engine.loads()
        ]
        found = world.most([max(worst, default=0.0)])[0]
        return found or None

    def _end(self) -> str | None:
        self.now = self._agree()
        if self.now.signal:
            return signal.Signals(self.now.signal).name
        if self.training.position.step >= self.run.steps:
            return "tokens"
        limit = self.run.time_limit
        if limit is not None and self.now.elapsed + self.now.usual > limit:
            return "time limit"
        return None

    def _agree(self) -> Moment:
        """One clock and one will for all processes, or their learning rates would differ."""
        asked = self.stop.signal or 0
        due = (time.monotonic() - self._saved_at) / self._save_every
        mine = [self._elapsed(), float(asked), self._usual(), due]
        elapsed, asked_by_any, usual, due = world.most(mine)
        return Moment(elapsed, int(asked_by_any), usual, due)

    def _due(self) -> bool:
        every = self.run.checkpoint_every
        if every is not None:
            return self.training.position.step % every == 0
        return self.now.due > 1.0

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _share(self) -> float:
        step, steps = self.training.position.step, self.run.steps
        return progress(step, steps, self.now.elapsed, self.run.time_limit)

    def _usual(self) -> float:
        return statistics.median(self._recent) if self._recent else 0.0

    def _left(self) -> float:
        by_steps = (self.run.steps - self.training.position.step) * self._usual()
        limit = self.run.time_limit
        return by_steps if limit is None else min(by_steps, max(limit - self._elapsed(), 0.0))
