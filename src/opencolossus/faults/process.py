"""Failures as a Poisson process whose rates change from hour to hour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HOUR = 3600.0


class Strikes(NamedTuple):
    """Failures in order of time."""

    time: Array
    """Seconds since the start, shape [E]."""
    cause: NDArray[np.intp]
    """Column of the rates, shape [E]."""


def strike(rates: Array, generator: np.random.Generator) -> Strikes:
    """Draw failures from ``rates`` [H, C] (per second, constant within each hour).

    Counts and moments come from streams of their own, hour by hour, so a change of later rates
    leaves earlier hours as they were.
    """
    of_counts, of_moments = generator.spawn(2)
    counts = of_counts.poisson(rates * HOUR)
    hour, cause = np.nonzero(counts)
    repeats = counts[hour, cause]
    hour, cause = np.repeat(hour, repeats), np.repeat(cause, repeats)
    time = (hour + of_moments.random(hour.size)) * HOUR
    order = np.argsort(time, kind="stable")
    return Strikes(time[order], cause[order])


def infant_factor(age: Array, factor: float, decay: float) -> Array:
    """Failure rate of hardware of ``age`` (s) as a multiple of the settled rate.

    1 + (factor - 1) exp(-age / decay): the falling limb of the bathtub curve.
    """
    young = (factor - 1) * np.exp(-np.maximum(age, 0.0) / decay)
    return np.where(age < 0, 0.0, 1.0 + young)
