"""TensorBoard, for those who ask for it (extra ``tensorboard``)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from opencolossus.specs.errors import UserError
from opencolossus.train.telemetry import Sink, StepRecord

FOLDER = "tensorboard"
"""Within the run's folder."""
PANELS = {
    "loss": ("loss", "gradient_norm", "skipped"),
    "speed": ("tokens_per_second", "mfu", "seconds"),
    "progress": ("tokens", "learning_rate", "epoch", "row"),
    "machine": ("memory", "power", "joules_per_token"),
    "experts": ("expert_load",),
}
"""Which figures of a step stand together."""


class Board(Sink):
    """Writes event files into ``tensorboard/`` of a run.

    Args:
        step: steps done; what an earlier start of the run wrote beyond them is hidden.

    Raises:
        UserError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise UserError(
                "--tensorboard needs TensorBoard: pip install 'opencolossus[tensorboard]'"
            ) from None
        try:
            self._writer = SummaryWriter(
                str(folder / FOLDER), purge_step=step + 1 if step else None, flush_secs=10
            )
        except OSError as error:
            raise _unwritten(folder, error) from None
        self._folder = folder

    def event(self, name: str, fields: dict[str, Any]) -> None:
        """Draw evaluations."""
        if name == "evaluation":
            self._draw("held-out/bits_per_byte", fields["bits_per_byte"], fields["step"])

    def step(self, record: StepRecord) -> None:
        """Draw a step."""
        figures = record.figures()
        for panel, names in PANELS.items():
            for name in names:
                if figures[name] is not None:
                    self._draw(f"{panel}/{name}", figures[name], record.step)

    def close(self) -> None:
        """Write what is held back."""
        try:
            self._writer.close()
        except OSError as error:
            raise _unwritten(self._folder, error) from None

    def _draw(self, tag: str, value: float, step: int) -> None:
        try:
            self._writer.add_scalar(tag, value, step)
        except OSError as error:
            raise _unwritten(self._folder, error) from None


def _unwritten(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder / FOLDER} cannot be written: {error.strerror or error}")
