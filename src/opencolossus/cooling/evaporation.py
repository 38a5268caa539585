"""How much of a tower's heat leaves as vapour, from the properties of moist air.

Air enters at the weather's dry and wet bulb and leaves saturated, near the mean temperature of the
water that it cools (Merkel's picture; ASHRAE 2020, HVAC Systems and Equipment, ch. 40). What
heats the air costs no water; in winter that is up to two fifths of the heat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

PRESSURE = 101_325.0  # Pa, at sea level
USUAL_SHARE = 0.85
"""Share of the heat that evaporates where a tower's water use is stated."""


def vapour_pressure(temperature: ArrayLike) -> Array:
    """Pressure in Pa of saturated vapour over water (Alduchov & Eskridge 1996, eq. 21)."""
    t = np.asarray(temperature, dtype=float)
    return np.asarray(610.94 * np.exp(17.625 * t / (t + 243.04)))


def saturated(temperature: ArrayLike) -> Array:
    """Water in kg per kg of dry air, saturated (ASHRAE 2021, Fundamentals, ch. 1, eq. 21)."""
    pressure = vapour_pressure(temperature)
    return np.asarray(0.621945 * pressure / (PRESSURE - pressure))


def humidity(dry_bulb: ArrayLike, wet_bulb: ArrayLike) -> Array:
    """Water in kg per kg of dry air (ASHRAE 2021, Fundamentals, ch. 1, eq. 33)."""
    t, wet = np.asarray(dry_bulb, dtype=float), np.asarray(wet_bulb, dtype=float)
    top = (2501 - 2.326 * wet) * saturated(wet) - 1.006 * (t - wet)
    return np.asarray(np.maximum(top / (2501 + 1.86 * t - 4.186 * wet), 0.0))


def enthalpy(dry_bulb: ArrayLike, water: ArrayLike) -> Array:
    """kJ per kg of dry air with ``water`` kg of vapour (same chapter, eq. 30)."""
    t = np.asarray(dry_bulb, dtype=float)
    return np.asarray(1.006 * t + np.asarray(water) * (2501 + 1.86 * t))


def evaporated_share(dry_bulb: ArrayLike, wet_bulb: ArrayLike, water: ArrayLike) -> Array:
    """Share of a tower's heat that leaves as vapour where its water is at ``water`` °C on average.

    Above 1 in air that is hotter than the water: evaporation cools the air as well.
    """
    t, wet = np.asarray(dry_bulb, dtype=float), np.asarray(wet_bulb, dtype=float)
    leaving = np.maximum(np.asarray(water, dtype=float), wet + 1.0)
    before = humidity(t, wet)
    heat = enthalpy(leaving, saturated(leaving)) - enthalpy(t, before)
    warmed = (1.006 + 1.86 * before) * (leaving - t)
    return np.asarray(1 - warmed / heat)
