"""How often to save where nobody says so."""

from __future__ import annotations

import os

from opencolossus.faults.goodput import interrupt_rate, optimum_interval
from opencolossus.train import world

OFTEN = 60.0
"""Seconds between checkpoints that cost next to nothing."""
WORTH = 0.01
"""Share of the time that checkpoints may cost where failures alone would not ask for more."""


def save_interval(stall: float) -> float:
    """Seconds between checkpoints, each of which holds up the run for ``stall`` s.

    The optimum for the failures of as many servers (Young 1974, Daly 2006), but every minute where
    that costs under one percent: people stop a run more often than servers fail.
    """
    servers = max(world.size() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    optimum = float(optimum_interval(stall, 1.0 / interrupt_rate(servers)))
    return max(min(optimum, stall / WORTH), min(optimum, OFTEN))
