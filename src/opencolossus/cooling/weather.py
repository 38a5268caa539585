"""The weather of every hour from a climate's months."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opencolossus.specs.site import Climate, HeatWave

Array = NDArray[np.float64]
WARMEST_HOUR = 15.0
WET_BULB_SWING = 1 / 3
"""Daily swing of the wet bulb as a share of the dry bulb's (assumed): humidity hardly changes
within a day, so the wet bulb rises about a third as much as the air near 25 °C."""

ASSUMED = {
    "climate.hours": "hours follow from monthly means and a daily swing: a sine with its top at "
    "15:00, the wet bulb swinging a third as much as the air"
}


def hourly(
    climate: Climate, hours: NDArray[np.datetime64], waves: Sequence[HeatWave] = ()
) -> tuple[Array, Array]:
    """Dry and wet bulb in °C of each hour, shape [H] each.

    Monthly means stand in the middle of their months and are joined by straight lines.
    """
    dry = _seasonal(hours, [month.dry_bulb for month in climate.months])
    wet = _seasonal(hours, [month.wet_bulb for month in climate.months])
    swing = _seasonal(hours, [month.swing for month in climate.months])
    of_day = (hours - hours.astype("datetime64[D]")).astype(float)
    wave = np.cos(2 * np.pi * (of_day + 0.5 - WARMEST_HOUR) / 24)
    dry = dry + swing / 2 * wave
    wet = wet + WET_BULB_SWING * swing / 2 * wave
    for heat in waves:
        struck = _during(hours, heat)
        dry, wet = dry + struck * heat.dry_bulb, wet + struck * heat.wet_bulb
    return dry, np.minimum(wet, dry)


def _seasonal(hours: NDArray[np.datetime64], values: Sequence[float]) -> Array:
    """Join the ``values`` of twelve months, each at its middle, around the year."""
    months = hours.astype("datetime64[M]")
    start = months.astype("datetime64[h]")
    length = ((months + 1).astype("datetime64[h]") - start).astype(float)
    position = (months.astype(int) % 12) + (hours - start).astype(float) / length - 0.5
    around = np.array([values[-1], *values, values[0]])
    return np.asarray(np.interp(position, np.arange(-1, 13), around))


def _during(hours: NDArray[np.datetime64], wave: HeatWave) -> Array:
    first = np.datetime64(wave.start, "h")
    last = first + np.timedelta64(round(24 * wave.days), "h")
    return np.asarray((hours >= first) & (hours < last), dtype=float)
