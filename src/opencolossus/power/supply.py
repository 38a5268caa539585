"""What each source may give, by date, order and outage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import Array
from opencolossus.power.slots import HOUR, Hours, Slots
from opencolossus.power.sun import mean_tariff, share
from opencolossus.power.trips import NONE, Trips, left
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery, Generators, Grid, PowerSource, Solar

NO_TRIPS: Mapping[str, Trips] = MappingProxyType({})


def hours_between(start: date, end: date) -> Hours:
    """All hours from the first of ``start`` to the last of ``end``, shape [H]."""
    first = np.datetime64(start, "h")
    last = np.datetime64(end, "h") + np.timedelta64(24, "h")
    return np.arange(first, last, np.timedelta64(1, "h"))


def present(source: PowerSource, moments: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Whether ``source`` is there at each of ``moments``, by its dates."""
    there = np.ones(moments.shape, dtype=bool)
    if source.available is not None:
        there &= moments >= np.datetime64(source.available, "s")
    if source.until is not None:
        there &= moments < np.datetime64(source.until, "s")
    return there


def contracted(site: Site, moments: NDArray[np.datetime64]) -> dict[str, Array]:
    """Power in W that each source but batteries gives by contract and sun, whatever happens."""
    return {
        name: np.asarray(present(source, moments) * _most(source, moments), dtype=float)
        for name, source in site.power.items()
        if not isinstance(source, Battery)
    }


def lasting(site: Site, moments: NDArray[np.datetime64]) -> dict[str, Array]:
    """The same of those that plans count on: the sun is none of them."""
    return {
        name: power
        for name, power in contracted(site, moments).items()
        if not isinstance(site.power[name], Solar)
    }


def _most(source: PowerSource, moments: NDArray[np.datetime64]) -> Array | float:
    if isinstance(source, Solar):
        return source.rating * share(source, moments.astype("datetime64[h]"))
    return source.limit


def struck(slots: Slots, start: float, duration: float) -> NDArray[np.bool_]:
    """Slots that something of ``duration`` s from second ``start`` on touches.

    What covers part of a slot counts for all of it: limits hold at every moment.
    """
    begin, end = slots.start, slots.start + slots.length
    return np.asarray((end > start + 1e-9) & (begin < start + duration - 1e-9))


def available(
    site: Site,
    slots: Slots,
    trips: Mapping[str, Trips] = NO_TRIPS,
    warned: bool = False,
    drawn: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Power in W that each source but batteries may give in each slot, [S] each.

    Orders are heeded, outages and ``trips`` suffered. With ``warned`` an order counts from its
    call on: what those who start generators go by. ``drawn`` [S] is what each grid delivers
    while the site works, for orders that are a share of that; they are left out without it.
    """
    limits = contracted(site, slots.moments)
    for order in site.orders:
        early = order.notice if warned else 0.0
        hit = struck(slots, slots.seconds(order.start) - early, order.duration + early)
        for name, source in site.power.items():
            if isinstance(source, Grid) and order.source in (None, name):
                base = limits if order.of == "contract" else drawn
                if base is not None:
                    less = np.minimum(limits[name], base[name] * (1 - order.reduction))
                    limits[name] = np.where(hit, less, limits[name])
    for outage in site.outages:
        if outage.source in limits:
            hit = struck(slots, slots.seconds(outage.start), outage.duration)
            limits[outage.source] = np.where(hit, 0.0, limits[outage.source])
    for name in limits.keys() & trips.keys():
        limits[name] = left(site.power[name], limits[name], trips[name].out(slots))
    return limits


def metered(site: Site, slots: Slots) -> NDArray[np.bool_]:
    """Slots in which an order is a share of what the site draws."""
    found = np.zeros(slots.length.shape, dtype=bool)
    for order in site.orders:
        if order.of == "draw":
            found |= struck(slots, slots.seconds(order.start), order.duration)
    return found


def failed(site: Site, slots: Slots, trips: Mapping[str, Trips]) -> NDArray[np.bool_]:
    """Slots in which something has failed: nobody had time to prepare."""
    found = np.zeros(slots.length.shape, dtype=bool)
    for outage in site.outages:
        found |= struck(slots, slots.seconds(outage.start), outage.duration)
    for one in trips.values():
        found |= one.out(slots) > 0
    return found


def usable(name: str, site: Site, slots: Slots, trips: Mapping[str, Trips] = NO_TRIPS) -> Array:
    """1 in the slots in which battery ``name`` is there and works, else 0."""
    there = present(site.power[name], slots.moments).astype(float)
    for outage in site.outages:
        if outage.source == name:
            there[struck(slots, slots.seconds(outage.start), outage.duration)] = 0.0
    return left(site.power[name], there, trips.get(name, NONE).out(slots))


def marginal_cost(source: PowerSource) -> float:
    """Dollars per J of electricity: the tariff; or fuel through the heat rate, and maintenance.

    Rent and demand charges are due whoever delivers, so they decide nothing here. A tariff that
    changes by the hour counts with its mean.
    """
    if isinstance(source, Grid):
        return mean_tariff(source)
    if isinstance(source, Generators):
        return source.fuel_price * source.heat_rate + source.maintenance
    return 0.0


def merit_order(site: Site) -> list[str]:
    """Names of all sources but batteries in the order of ``site.dispatch``, the sun first."""
    names = [name for name, source in site.power.items() if not isinstance(source, Battery)]

    def rank(name: str) -> tuple[bool, float]:
        source = site.power[name]
        late = {
            "cost": False,
            "grid-first": not isinstance(source, Grid | Solar),
            "own-first": isinstance(source, Grid),
        }[site.dispatch]
        return late, marginal_cost(source)

    return sorted(names, key=rank)


def busy_hours(
    site: Site, hours: Hours, changes: NDArray[np.intp], trips: Mapping[str, Trips] = NO_TRIPS
) -> set[int]:
    """Hours whose minutes matter: something changes and a source needs time to follow.

    ``changes`` are hours at which the demand steps to another level.
    """
    grid = Slots(hours[0], np.array([]), np.array([]), np.array([], dtype=np.intp))
    slow = max((_lag(source) for source in site.power.values()), default=0.0)
    moments: list[float] = []
    for order in site.orders:
        begin = grid.seconds(order.start)
        moments += [begin - order.notice, begin, begin + order.duration]
    for outage in site.outages:
        begin = grid.seconds(outage.start)
        moments += [begin, begin + outage.duration]
    for one in trips.values():
        moments += [*one.start.tolist(), *(one.start + one.duration).tolist()]
    if slow:
        dates = [d for s in site.power.values() for d in (s.available, s.until) if d is not None]
        moments += [grid.seconds(day) for day in dates]
        moments += [hour * HOUR for hour in changes.tolist()]
    return {
        hour
        for moment in moments
        for hour in range(int((moment - 1) // HOUR), int((moment + slow) // HOUR) + 1)
    }


def _lag(source: PowerSource) -> float:
    """Time in s from an order to start until a source gives all it can."""
    start = source.start_time if isinstance(source, Generators) else 0.0
    climb = source.limit / source.ramp if source.ramp else 0.0
    return min(start + climb, 24 * HOUR)
