"""Units of sources that trip by chance and are repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from opencolossus.power.caps import Array
from opencolossus.power.slots import Slots
from opencolossus.specs.sources import Generators, PowerSource


class Trips(NamedTuple):
    """Trips of one source in order of time; arrays of shape [E], in s."""

    start: Array
    """Since the start."""
    duration: Array
    """Until the unit is back."""

    def out(self, slots: Slots, at_most: float = np.inf) -> Array:
        """Units that are out in some part of each slot, [S]; of each only its first ``at_most`` s.

        What covers part of a slot counts for all of it: limits hold at every moment.
        """
        back = np.sort(self.start + np.minimum(self.duration, at_most))
        begun = np.searchsorted(self.start, slots.start + slots.length - 1e-9, side="left")
        ended = np.searchsorted(back, slots.start + 1e-9, side="right")
        return np.asarray(begun - ended, dtype=float)


NONE = Trips(np.array([]), np.array([]))


def draw(
    sources: Mapping[str, PowerSource], seconds: float, generator: np.random.Generator
) -> dict[str, Trips]:
    """Trips of every source that has an ``mtbf``, over ``seconds`` s.

    Units fail and are repaired in turn, each round taking ``mtbf`` + ``mttr`` on average, so that
    mttr / (mtbf + mttr) of them are out (IEEE 762-2006, forced outage rate). Rounds are drawn as
    a Poisson process and repairs as exponential times; each source has a stream of its own.
    """
    found = {}
    for (name, source), own in zip(sources.items(), generator.spawn(len(sources)), strict=True):
        if source.mtbf is None or source.mttr is None:
            continue
        count = own.poisson(source.units * seconds / (source.mtbf + source.mttr))
        start = np.sort(own.random(count)) * seconds
        found[name] = Trips(start, source.mttr * own.standard_exponential(count))
    return found


def left(source: PowerSource, limit: Array, out: Array) -> Array:
    """What ``out`` [S] tripped units leave of ``limit`` [S] (W); standby units step in first."""
    if isinstance(source, Generators):
        return np.asarray(np.clip((source.count - out) * source.unit, 0.0, limit))
    return np.where(out > 0, 0.0, limit)


def unreplaced(source: Generators, trips: Trips, slots: Slots) -> Array:
    """Power in W of units that tripped so lately that none could start in their place, [S]."""
    return trips.out(slots, source.start_time) * source.unit
