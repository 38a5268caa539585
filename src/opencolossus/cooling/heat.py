"""Heat from the cold plates and the air to towers or dry coolers: power, water, temperatures.

Two water loops leave the halls: the cold plates' at ``supply_temperature`` and the air's at
``air_supply_temperature``. Outside air cools each for free down to

    free = heat sink's temperature + exchanger approach,

where the heat sink is the wet bulb plus the tower's approach, or the dry bulb plus the cooler's.
Chillers in series take what is left of the loop's rise (trim chilling, ASHRAE 2021, "Liquid
Cooling Guidelines for Datacom Equipment Centers"). Everything is vectorised over hours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencolossus.cooling.evaporation import USUAL_SHARE, evaporated_share
from opencolossus.specs.site import Cooling

Array = NDArray[np.float64]

LATENT_HEAT = 2.43e6  # J/kg, water near 30 °C (IAPWS-95)
WATER_DENSITY = 997.0  # kg/m³
HEAT_CAPACITY = 4181.0  # J/(kg K)

ASSUMED = {
    "cooling.loops": "where a description does not say, the water that cools the air is supplied "
    "at 20 °C, both loops rise by 10 K at the nameplate, and chillers keep one COP in all weathers"
}


class Heat(NamedTuple):
    """Where the power of a site goes beside the computers; W, °C, m³/s."""

    facility: Array
    """IT, cooling and losses together: what the sources must deliver."""
    pumps_and_fans: Array
    chillers: Array
    losses: Array
    """Transformers, UPS and lights."""
    rejected: Array
    """Heat that leaves through towers or dry coolers."""
    water: Array
    """Water consumed per second."""
    supply: Array
    """Temperature of the water that reaches the cold plates."""


def free_temperature(cooling: Cooling, dry_bulb: ArrayLike, wet_bulb: ArrayLike) -> Array:
    """Facility water in °C that outside air makes without chillers."""
    sink = np.asarray(wet_bulb if cooling.heat_sink == "towers" else dry_bulb, dtype=float)
    return np.asarray(sink + cooling.tower_approach + cooling.exchanger_approach)


def chiller_share(
    cooling: Cooling, supply: float, dry_bulb: ArrayLike, wet_bulb: ArrayLike
) -> Array:
    """Share of a loop's heat that chillers take, in 0..1, to hold ``supply`` °C."""
    warm = free_temperature(cooling, dry_bulb, wet_bulb) - supply
    return np.asarray(np.clip(warm / cooling.loop_rise, 0.0, 1.0))


def heat(cooling: Cooling, it_power: ArrayLike, dry_bulb: ArrayLike, wet_bulb: ArrayLike) -> Heat:
    """Follow ``it_power`` (W) from chip to tower at ``dry_bulb`` and ``wet_bulb`` (°C).

    All arrays broadcast. Energy is conserved: what the sources deliver equals IT power plus
    cooling plus losses, and what is rejected equals the heat of the loops plus the work of pumps
    and chillers. Chillers serve the air first; where their limit leaves the cold plates short,
    the supply water warms up.
    """
    it = np.asarray(it_power, dtype=float)
    free = free_temperature(cooling, dry_bulb, wet_bulb)
    liquid, air = cooling.liquid_share * it, (1 - cooling.liquid_share) * it
    limit = np.inf if cooling.chiller_limit is None else cooling.chiller_limit
    air_set, liquid_set = cooling.air_supply_temperature, cooling.supply_temperature
    for_air = np.minimum(limit, air * chiller_share(cooling, air_set, dry_bulb, wet_bulb))
    wanted = liquid * chiller_share(cooling, liquid_set, dry_bulb, wet_bulb)
    for_liquid = np.minimum(limit - for_air, wanted)
    unmet = np.divide(wanted - for_liquid, liquid, out=np.zeros_like(wanted), where=liquid > 0)
    chillers = (for_air + for_liquid) / cooling.chiller_cop
    moving = it * (cooling.pump_share + cooling.fan_share)
    rejected = it + moving + chillers
    per_heat = _water_per_heat(cooling, dry_bulb, wet_bulb) if cooling.water_use > 0 else 0.0
    above = np.maximum(free - cooling.loop_rise - liquid_set, 0.0)
    return Heat(
        facility=np.asarray(rejected + it * cooling.loss_share),
        pumps_and_fans=np.asarray(moving),
        chillers=np.asarray(chillers),
        losses=np.asarray(it * cooling.loss_share),
        rejected=np.asarray(rejected),
        water=np.asarray(rejected * per_heat),
        supply=np.asarray(liquid_set + unmet * (cooling.loop_rise + above)),
    )


def _water_per_heat(cooling: Cooling, dry_bulb: ArrayLike, wet_bulb: ArrayLike) -> Array | float:
    """m³ of water per J in a tower: as stated, in proportion to what evaporates in this weather."""
    if cooling.heat_sink != "towers":
        return 0.0
    coldest = np.asarray(wet_bulb, dtype=float) + cooling.tower_approach
    cold = np.maximum(coldest, cooling.supply_temperature - cooling.exchanger_approach)
    share = evaporated_share(dry_bulb, wet_bulb, cold + cooling.loop_rise / 2)
    return np.asarray(cooling.water_use * share / USUAL_SHARE)


def leaving(cooling: Cooling, supply: ArrayLike, load: ArrayLike) -> Array:
    """Water in °C that leaves the cold plates of a rack at ``load``, its power per nameplate.

    A rack's pumps keep their flow, so the rise follows the power: ``loop_rise`` at the nameplate.
    """
    return np.asarray(np.asarray(supply) + cooling.loop_rise * np.asarray(load, dtype=float))


def throttle(cooling: Cooling, supply: ArrayLike) -> Array:
    """Clock that GPUs keep, in 0..1, when water reaches the cold plates at ``supply`` °C."""
    above = np.maximum(np.asarray(supply, dtype=float) - cooling.throttle_temperature, 0.0)
    return np.asarray(np.clip(1 - cooling.throttle_per_kelvin * above, 0.0, 1.0))


def pue(cooling: Cooling, it_power: ArrayLike, dry_bulb: ArrayLike, wet_bulb: ArrayLike) -> Array:
    """Power usage effectiveness: facility power per IT power (ISO/IEC 30134-2)."""
    it = np.maximum(np.asarray(it_power, dtype=float), 1e-9)
    return np.asarray(heat(cooling, it, dry_bulb, wet_bulb).facility / it)


def water(cooling: Cooling, it_power: ArrayLike, dry_bulb: ArrayLike, wet_bulb: ArrayLike) -> Array:
    """Water consumed in m³/s: evaporated, blown down and drifted."""
    return heat(cooling, it_power, dry_bulb, wet_bulb).water


def tower_water_use(latent_share: float = USUAL_SHARE, cycles: float = 4.0) -> float:
    """Water in m³ per J of heat that a tower consumes, from physics.

    Evaporation is ``latent_share`` of the heat over the latent heat; blow-down keeps the salts at
    ``cycles`` of concentration: evaporation / (cycles - 1) (ASHRAE 2020, HVAC Systems, ch. 40).
    """
    evaporation = latent_share / (LATENT_HEAT * WATER_DENSITY)
    return evaporation * (1 + 1 / (cycles - 1))


def flow(heat_moved: ArrayLike, rise: float) -> Array:
    """Flow of water in m³/s that carries ``heat_moved`` (W) with ``rise`` K."""
    return np.asarray(heat_moved, dtype=float) / (WATER_DENSITY * HEAT_CAPACITY * rise)


def wet_bulb(dry_bulb: ArrayLike, humidity: ArrayLike) -> Array:
    """Wet bulb in °C at sea level from air in °C and relative ``humidity`` in 0..1.

    Stull 2011 (J. Appl. Meteor. Climatol. 50), eq. 1: within 1 K for 5-99 % and -20..50 °C.
    """
    t, rh = np.asarray(dry_bulb, dtype=float), 100 * np.asarray(humidity, dtype=float)
    return np.asarray(
        t * np.arctan(0.151977 * np.sqrt(rh + 8.313659))
        + np.arctan(t + rh)
        - np.arctan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * np.arctan(0.023101 * rh)
        - 4.686035
    )
