"""Tells a step that would harm the weights from one that helps."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Any

WINDOW = 128
"""Steps that the usual level is taken from (OLMo 2, 2025, section 3.1: skipped steps)."""
SIGMAS = 6.0
"""Standard deviations above the mean at which a step counts as exploding (same source)."""
LEAST = 32
"""Steps seen before anything but a non-finite number can be called unusual."""
LOSS_FLOOR, NORM_FLOOR = 0.1, 0.5
"""Smallest standard deviations, as shares of the mean: a quiet run is not oversensitive.

A loss thus may reach 1.6 times its mean and a norm 4 times; clipping bounds what that can do.
"""
RUN_OF_BAD = 8
"""Bad steps in a row after which the run goes back to its last checkpoint."""


@dataclass
class Guard:
    """Judges each step by its loss and gradient norm; remembers the good ones."""

    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    skipped: int = 0
    in_a_row: int = 0

    def fault(self, loss: float, norm: float) -> str | None:
        """Why the step must not be taken, or None; counts either way."""
        reason = self._reason(loss, norm)
        if reason is None:
            self.losses.append(loss)
            self.norms.append(norm)
            self.in_a_row = 0
        else:
            self.skipped += 1
            self.in_a_row += 1
        return reason

    def _reason(self, loss: float, norm: float) -> str | None:
        for name, value, seen, floor in (
            ("loss", loss, self.losses, LOSS_FLOOR),
            ("gradient norm", norm, self.norms, NORM_FLOOR),
        ):
            if not math.isfinite(value):
                return f"{name} is {value}"
            if len(seen) >= LEAST and value > (limit := _limit(seen, floor)):
                return f"{name} {value:.3g} is over {limit:.3g}, {SIGMAS:g} sigma above its mean"
        return None

    @property
    def must_roll_back(self) -> bool:
        """Whether skipping no longer helps."""
        return self.in_a_row >= RUN_OF_BAD

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "losses": list(self.losses),
            "norms": list(self.norms),
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.losses = deque(state["losses"], maxlen=WINDOW)
        self.norms = deque(state["norms"], maxlen=WINDOW)
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]


def _limit(seen: deque[float], floor: float) -> float:
    mean = statistics.fmean(seen)
    return mean + SIGMAS * max(statistics.pstdev(seen), floor * mean)
