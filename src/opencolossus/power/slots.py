"""The grid of time: whole hours, and minutes in hours in which sources start, stop or climb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import Array

Hours = NDArray[np.datetime64]
HOUR = 3600.0
MINUTE = 60.0


@dataclass(frozen=True)
class Slots:
    """Stretches of time in which nothing changes; arrays of shape [S]."""

    origin: np.datetime64
    start: Array
    """Seconds since ``origin``."""
    length: Array
    """Seconds."""
    hour: NDArray[np.intp]
    """The hour that each lies in."""

    @property
    def moments(self) -> NDArray[np.datetime64]:
        """Local time at which each begins."""
        origin = self.origin.astype("datetime64[s]")
        return np.asarray(origin + self.start.astype("timedelta64[s]"))

    @property
    def fine(self) -> NDArray[np.bool_]:
        """Whether each is a minute."""
        return self.length < HOUR

    def seconds(self, moment: object) -> float:
        """Seconds from ``origin`` to a date or time of day."""
        since = np.datetime64(moment, "s") - self.origin.astype("datetime64[s]")  # type: ignore[call-overload]
        return float(since.astype(float))

    def by_hour(self, values: Array) -> Array:
        """Mean of ``values`` [..., S] over each hour, [..., H]."""
        begins = np.flatnonzero(np.diff(self.hour, prepend=-1))
        return np.asarray(np.add.reduceat(values * self.length, begins, axis=-1) / HOUR)

    def at(self, values: Array) -> Array:
        """``values`` [..., H] of the hours, for each slot [..., S]."""
        return np.asarray(values[..., self.hour])


def slots(hours: Hours, fine: Iterable[int]) -> Slots:
    """Cut ``hours`` [H], those numbered in ``fine`` into minutes."""
    parts = np.ones(hours.size, dtype=np.intp)
    for hour in fine:
        if 0 <= hour < hours.size:
            parts[hour] = round(HOUR / MINUTE)
    of_hour = np.repeat(np.arange(hours.size), parts)
    length = HOUR / parts[of_hour]
    start = np.concatenate([[0.0], np.cumsum(length)[:-1]])
    return Slots(hours[0], start, length, of_hour)
