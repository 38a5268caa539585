"""What a site carries on a day, and what its watts cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from opencolossus.cooling import heat
from opencolossus.fabric import clos
from opencolossus.power.capacity import gpus_carried, provisioned_gpu_power
from opencolossus.power.demand import it_power
from opencolossus.power.sun import share
from opencolossus.power.supply import hours_between, marginal_cost, merit_order
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.errors import UserError
from opencolossus.specs.scales import DAY
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery, Generators, Grid, PowerSource, Solar
from opencolossus.step.columns import Array

WET_SWING = 1 / 3  # of the air's daily swing, as cooling.weather has it
LOWEST_CAP = 0.45
"""Lowest cap that is tried, as a share of the rated power: below it GPUs waste their idle power."""
CAPS = 17


@dataclass(frozen=True)
class Weather:
    """Hot hour and mean of a day's month, °C."""

    hot_dry: float
    hot_wet: float
    dry: float
    wet: float


def weather(site: Site, day: date) -> Weather:
    """The weather of the month that ``day`` is in."""
    month = site.climate.months[day.month - 1]
    dry = month.dry_bulb + month.swing / 2
    wet = min(month.wet_bulb + WET_SWING * month.swing / 2, dry)
    return Weather(dry, wet, month.dry_bulb, month.wet_bulb)


def caps(pool: Pool) -> Array:
    """Caps to try, from the lowest that makes sense to the rated power, in W."""
    gpu = pool.node.gpu
    lowest = max(gpu.min_cap, LOWEST_CAP * gpu.tdp)
    return np.linspace(lowest, gpu.tdp, CAPS)


def carried(
    site: Site | None,
    cluster: Cluster,
    pool: Pool,
    limit: float,
    weather: Weather | None,
    there: int,
) -> tuple[Array, Array]:
    """Caps, and how many of ``there`` GPUs ``limit`` W carry at each, whole servers."""
    tried = caps(pool)
    pue = hot_pue(site, weather)
    count = np.full(tried.shape, float(there))
    for _ in range(2):  # fewer GPUs have more switches each
        switches = [_switches(cluster, pool, gpus) for gpus in count]
        fit = gpus_carried(cluster, pool, limit, tried, pue, switches)
        count = np.minimum(fit, count)
    return tried, count


def _switches(cluster: Cluster, pool: Pool, gpus: float) -> float:
    """Switches per GPU of the fabric for ``gpus``."""
    some = max(int(gpus), 1)
    return clos.size(pool.node, cluster.fabric, some).switches / some


def facility_power(
    site: Site | None,
    cluster: Cluster,
    pool: Pool,
    gpus: int,
    node_watts: float,
    weather: Weather | None,
) -> tuple[float, float]:
    """IT and facility power in W of ``gpus`` working GPUs, switches and storage included."""
    name = next(key for key, value in cluster.pools.items() if value is pool)
    switches = clos.size(pool.node, cluster.fabric, max(gpus, 1)).switches
    it = float(it_power(cluster, {name: gpus}, {name: node_watts}, switches))
    if site is None or weather is None:
        return it, it
    return it, float(heat.heat(site.cooling, it, weather.dry, weather.wet).facility)


def peak_power(
    site: Site | None, cluster: Cluster, pool: Pool, gpus: int, cap: float, weather: Weather | None
) -> float:
    """W at the site's entry to reserve for ``gpus`` GPUs held to ``cap``, on the hot hour."""
    switches = _switches(cluster, pool, gpus)
    reserved = gpus * float(provisioned_gpu_power(cluster, pool, cap, switches))
    return reserved * hot_pue(site, weather)


def hot_pue(site: Site | None, weather: Weather | None) -> float:
    """PUE of the month's hot hour; 1 where no site is given."""
    if site is None or weather is None:
        return 1.0
    return float(heat.pue(site.cooling, 1.0, weather.hot_dry, weather.hot_wet))


def dollars_per_day(site: Site, power: float, day: date, weather: Weather) -> float:
    """Dollars a day for ``power`` W: sources in merit order, demand charge, rent, water."""
    left, total = power, 0.0
    for name in merit_order(site):
        source = site.power[name]
        if not source.delivers_on(day) or isinstance(source, Battery):
            continue
        taken = min(left, _mean_limit(source, day))
        total += taken * marginal_cost(source) * DAY
        left -= taken
        if isinstance(source, Generators):
            total += source.rent * source.count
        elif isinstance(source, Grid):
            total += taken * source.demand_charge * DAY
    pue = float(heat.pue(site.cooling, 1.0, weather.dry, weather.wet))
    water = float(heat.water(site.cooling, power / pue, weather.dry, weather.wet)) * DAY
    return total + water * site.water_price


def _mean_limit(source: PowerSource, day: date) -> float:
    if not isinstance(source, Solar):
        return source.limit
    return source.rating * float(share(source, hours_between(day, day)).mean())


def power_limit(site: Site, day: date) -> float:
    """What the site may draw on ``day``.

    Raises:
        UserError: no source delivers then.
    """
    limit = site.power_limit(day)
    if limit <= 0:
        dates = sorted(s.available for s in site.power.values() if s.available is not None)
        first = f"; the first source is there on {dates[0]}" if dates else ""
        raise UserError(f"site.power: no source delivers on {day}{first}")
    return limit
