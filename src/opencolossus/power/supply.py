"""What each source can give, hour by hour."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import Array
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery, Generators, Grid, Order, PowerSource

Hours = NDArray[np.datetime64]
HOUR = 3600.0


def hours_between(start: date, end: date) -> Hours:
    """All hours from the first of ``start`` to the last of ``end``, shape [H]."""
    first = np.datetime64(start, "h")
    last = np.datetime64(end, "h") + np.timedelta64(24, "h")
    return np.arange(first, last, np.timedelta64(1, "h"))


def present(source: PowerSource, hours: Hours) -> NDArray[np.bool_]:
    """Whether ``source`` is there in each hour, by its dates."""
    there = np.ones(hours.shape, dtype=bool)
    if source.available is not None:
        there &= hours >= np.datetime64(source.available, "h")
    if source.until is not None:
        there &= hours < np.datetime64(source.until, "h")
    return there


def contracted(site: Site, hours: Hours) -> dict[str, Array]:
    """Power in W that each source but batteries can give in each hour, orders not yet heeded."""
    return {
        name: np.asarray(present(source, hours) * source.limit, dtype=float)
        for name, source in site.power.items()
        if not isinstance(source, Battery)
    }


def ordered(order: Order, hours: Hours) -> Array:
    """Share of each hour, in 0..1, in which ``order`` is in force."""
    start = np.datetime64(order.start, "s")
    stop = start + np.timedelta64(round(order.duration), "s")
    begin = hours.astype("datetime64[s]")
    lasting = np.minimum(begin + np.timedelta64(3600, "s"), stop) - np.maximum(begin, start)
    return np.asarray(np.clip(lasting.astype(float) / HOUR, 0.0, 1.0))


def available(site: Site, hours: Hours) -> dict[str, Array]:
    """Power in W that each source but batteries may give in each hour, orders heeded.

    An order that covers part of an hour counts for all of it: the limit holds at every moment.
    """
    limits = contracted(site, hours)
    for order in site.orders:
        struck = ordered(order, hours) > 0
        for name, source in site.power.items():
            if isinstance(source, Grid) and order.source in (None, name):
                limits[name] = np.where(struck, limits[name] * (1 - order.reduction), limits[name])
    return limits


def marginal_cost(source: PowerSource) -> float:
    """Dollars per J of electricity: the tariff, or fuel through the heat rate."""
    if isinstance(source, Grid):
        return source.tariff
    if isinstance(source, Generators):
        return source.fuel_price * source.heat_rate
    return 0.0


def merit_order(site: Site) -> list[str]:
    """Names of all sources but batteries, cheapest first."""
    names = [name for name, source in site.power.items() if not isinstance(source, Battery)]
    return sorted(names, key=lambda name: marginal_cost(site.power[name]))
