"""What panels give by the height of the sun, and tariffs by the hour of the day."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import Array
from opencolossus.specs.sources import Grid, Solar

HOUR = 3600.0
ASSUMED = {
    "solar.hours": "the sun shines every day as on a mean one: panels follow its height, scaled to "
    "the year's yield, without clouds that come and go"
}


def height(latitude: float, hours: NDArray[np.datetime64]) -> Array:
    """Sine of the sun's elevation in the middle of each of ``hours``, solar noon at 12:00.

    Declination by Cooper 1969 (Solar Energy 12, eq. 1); elevation as in Duffie & Beckman 2013,
    eq. 1.6.5. Below 0 at night.
    """
    days = hours.astype("datetime64[D]")
    day = (days - hours.astype("datetime64[Y]").astype("datetime64[D]")).astype(float) + 1
    of_day = (hours.astype("datetime64[h]") - days).astype(float) + 0.5
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    angle, place = np.pi * (of_day - 12) / 12, np.radians(latitude)
    up = np.sin(place) * np.sin(declination)
    return np.asarray(up + np.cos(place) * np.cos(declination) * np.cos(angle))


def share(source: Solar, hours: NDArray[np.datetime64]) -> Array:
    """Share of the rating that the panels give in each of ``hours``, shape [H]."""
    gain = _gain(source.latitude, source.full_hours)
    return np.asarray(np.clip(gain * height(source.latitude, hours), 0.0, 1.0))


@lru_cache(maxsize=64)
def _gain(latitude: float, full_hours: float) -> float:
    """Factor on the sine of the elevation with which a year gives ``full_hours`` (s)."""
    year = np.arange(np.datetime64("2023-01-01T00"), np.datetime64("2024-01-01T00"))
    up = np.maximum(height(latitude, year), 0.0)
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = np.minimum(middle * up, 1.0).sum() * HOUR >= full_hours
        low, high = (low, middle) if enough else (middle, high)
    return high


def tariff(source: Grid, hours: NDArray[np.datetime64]) -> Array:
    """Dollars per J that the grid asks in each of ``hours``, shape [H]."""
    price = np.full(hours.shape, source.tariff)
    days = hours.astype("datetime64[D]")
    of_day = (hours.astype("datetime64[h]") - days).astype(int)
    weekend = (days.astype(int) + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    for period in source.periods:
        start, end = period.start.hour, period.end.hour
        inside = (of_day - start) % 24 < ((end - start) % 24 or 24)
        if period.days != "all":
            inside &= weekend == (period.days == "weekends")
        price = np.where(inside, period.tariff, price)
    return price


def mean_tariff(source: Grid) -> float:
    """Dollars per J over all hours of a week."""
    week = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2024-01-08T00"))
    return float(tariff(source, week).mean())
