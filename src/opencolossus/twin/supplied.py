"""What the sources can carry in every slot of time while the plans want their power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.power import supply
from opencolossus.power.dispatch import Storage, carried, in_order
from opencolossus.power.follow import Followed, climb, follow
from opencolossus.power.online import online
from opencolossus.power.slots import Slots
from opencolossus.power.trips import Trips
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Supplied:
    """Sources over time; [S] each."""

    slots: Slots
    available: dict[str, Array]
    """By contract, orders and outages heeded, in W."""
    order: list[str]
    """Names of the sources in the order in which they deliver."""
    storages: dict[str, Storage]
    running: dict[str, Array]
    """Units that run, in W."""
    followed: Followed
    limit: Array
    """What can surely be carried, batteries included, in W."""
    metered: NDArray[np.bool_]
    """Whether that is for what the site draws (an order of the draw), not for what it could."""
    peaks: Array
    """What the servers could draw may come to, in W: ``limit``, or the contracts while metered."""
    trips: Mapping[str, Trips]


def supplied(
    site: Site,
    slots: Slots,
    trips: Mapping[str, Trips],
    used_up: Mapping[str, int],
    peak: Array,
    usual: Array,
) -> Supplied:
    """Follow ``peak`` [S], the most that the plans draw, and charge from what ``usual`` leaves.

    Batteries are kept for what is short: hours in which the utility asks for less, outages,
    generators that are still starting. What contracts never give is met by a new plan.
    While an order is a share of the draw, what counts is the meter: ``usual`` instead of ``peak``.
    ``used_up`` tells the hour at which a source's permit is spent.
    """
    calm = supply.contracted(site, slots.moments)
    order = supply.merit_order(site)
    drawn = in_order(usual, calm, order).sources
    now, warned = (
        supply.available(site, slots, trips, warned=early, drawn=drawn) for early in (False, True)
    )
    free = supply.available(site, slots, trips)
    for name, hour in used_up.items():
        for limits in (calm, now, warned, free):
            limits[name] = np.where(slots.hour < hour, limits[name], 0.0)
    storages = {
        name: Storage(source, supply.usable(name, site, slots, trips))
        for name, source in site.power.items()
        if isinstance(source, Battery)
    }
    metered = supply.metered(site, slots)
    wanted = np.where(metered, usual, peak)
    wanted = np.minimum(wanted, np.sum(list(calm.values()), axis=0))
    bridged = np.zeros(slots.length.shape, dtype=bool)
    for storage in storages.values():
        bridged |= storage.present > 0
    running = online(site.power, wanted, now, warned, calm, order, slots, bridged, trips)
    followed = follow(site.power, wanted, running, order, slots)
    limit = carried(wanted, usual, followed.firm, storages, slots.length)
    more = np.sum([free[name] - now[name] for name in order], axis=0)
    peaks = np.where(metered, followed.firm + more, limit)
    return Supplied(slots, now, order, storages, running, followed, limit, metered, peaks, trips)


def climbs(
    site: Site, found: Supplied, usual: Array, idle: Array, hours: NDArray[np.intp]
) -> Array:
    """Time in s that a restart loses while sources climb, for the plans that begin at ``hours``.

    ``usual`` and ``idle`` [S] are the site's power in W while the job works and while it stands.
    """
    slots = np.searchsorted(found.slots.hour, hours, side="left")
    return np.array([_climb(site, found, usual, idle, int(slot)) for slot in slots])


def _climb(site: Site, found: Supplied, usual: Array, idle: Array, slot: int) -> float:
    # An hour later the sources of a new plan have started.
    later = found.slots.start[slot] + 3600.0
    slot = min(int(np.searchsorted(found.slots.start, later)), usual.size - 1)
    one = slice(slot, slot + 1)
    running = {name: power[one] for name, power in found.running.items()}
    floors = {name: floor[one] for name, floor in found.followed.floor.items()}
    base = in_order(idle[one], running, found.order, floors).sources
    free = sum(s.battery.limit for s in found.storages.values() if s.present[slot] > 0)
    ramp = 0.0
    for name in found.order:
        own = site.power[name].ramp
        if own is None:
            free += float((running[name] - base[name])[0])
        elif running[name][0] > 0:
            ramp += own
    return climb(float(usual[slot]), float(idle[slot]), free, ramp or None)
