"""When a run saves its state, and how it goes back to what it saved."""

from __future__ import annotations

import time

from opencolossus.specs.errors import UserError
from opencolossus.train import setup
from opencolossus.train.interval import save_interval
from opencolossus.train.setup import Training

MOST_ROLLBACKS = 3
"""Returns to a checkpoint after which a run gives up."""
FIRST_SAVE = 60.0
"""Seconds to the first checkpoint where the description says nothing; it shows what one costs."""


class Saver:
    """Saves a training every so often."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._every = FIRST_SAVE
        self._at = time.monotonic()
        self._step = training.position.step
        self._began = time.monotonic() - training.position.elapsed

    @property
    def elapsed(self) -> float:
        """Seconds of training, over all restarts."""
        return time.monotonic() - self._began

    @property
    def overdue(self) -> float:
        """Seconds since the last checkpoint, per seconds that should lie between two."""
        return (time.monotonic() - self._at) / self._every

    def due(self, overdue: float) -> bool:
        """Whether to save now; ``overdue`` is what the processes agreed on.

        Not among steps that are being skipped: the weights are those of the last checkpoint or
        of what followed it, and a return to them would change nothing.
        """
        training = self._training
        if training.guard.in_a_row:
            return False
        every = training.description.run.checkpoint_every
        return training.position.step % every == 0 if every is not None else overdue > 1.0

    def save(self) -> bool:
        """Start a checkpoint; False if there is nothing new to keep."""
        training = self._training
        self._at = time.monotonic()
        if training.position.step == self._step:
            return False
        training.position.elapsed = self.elapsed
        state = training.state().to_json()
        training.store.save(training.position.step, training.engine.tensors(), state)
        self._step = training.position.step
        self._every = save_interval(time.monotonic() - self._at)
        return True

    def roll_back(self) -> int:
        """Take the weights from before the steps that had to be skipped; returns their step.

        Raises:
            UserError: there are none, or going back did not help before.
        """
        training, position = self._training, self._training.position
        training.store.wait()
        position.rollbacks += 1
        before = position.step - training.guard.in_a_row
        step = training.store.newest_sound(before)
        if step is None or position.rollbacks > MOST_ROLLBACKS:
            raise UserError(
                f"the run does not recover: step {position.step} and those before it had to be "
                f"skipped; lower run.optimiser.learning_rate "
                f"({training.description.run.optimiser.learning_rate:g}) and resume"
            )
        setup.load_tensors(training, step)
        training.guard.in_a_row = 0
        return step
