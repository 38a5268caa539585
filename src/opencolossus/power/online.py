"""Which generators run: starts take time, a dark site starts in order, units are whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import Array
from opencolossus.power.dispatch import in_order
from opencolossus.power.slots import Slots
from opencolossus.power.supply import NO_TRIPS
from opencolossus.power.trips import NONE, Trips, unreplaced
from opencolossus.specs.sources import Generators, Grid, PowerSource

Limits = Mapping[str, Array]


def online(
    sources: Mapping[str, PowerSource],
    wanted: Array,
    limits: Limits,
    warned: Limits,
    calm: Limits,
    order: Sequence[str],
    slots: Slots,
    bridged: NDArray[np.bool_],
    trips: Mapping[str, Trips] = NO_TRIPS,
) -> dict[str, Array]:
    """Power in W of the units that run in each slot, by source, [S] each; grids give their limit.

    Units are started in the order of merit for ``wanted`` [S] (W). A start takes the source's
    start time. What the calendar tells (``calm`` limits, wanted power) is prepared for in time;
    an order from its call on (``warned``); an outage (``limits``) from the moment that it
    happens. While a site is dark only sources that start in the dark can begin to start;
    ``bridged`` slots are never dark (a battery forms the grid). A unit that ``trips`` was one
    that ran; another, where there is one, takes its place after the start time.
    """
    running: dict[str, Array] = {}
    for name in order:
        source = sources[name]
        if isinstance(source, Generators):
            running[name] = _need(name, source, wanted, warned, calm, order, slots)
        else:
            running[name] = np.asarray(limits[name], dtype=float)
    engines = {n: s for n, s in sources.items() if isinstance(s, Generators) and n in running}
    begun = {n: _after_start(running[n], engines[n].start_time, slots) for n in engines}
    alive = bridged | _any(running[n] for n in order if isinstance(sources[n], Grid))
    alive = alive | _any(begun[n] for n in engines if engines[n].starts_dark)
    for name, source in engines.items():
        if not source.starts_dark:
            lit = alive | _survives(begun, alive)
            begun[name] = _after_start(running[name] * lit, source.start_time, slots)
        lost = unreplaced(source, trips.get(name, NONE), slots)
        running[name] = np.minimum(np.maximum(begun[name] - lost, 0.0), limits[name])
    return running


def _need(
    name: str,
    source: Generators,
    wanted: Array,
    warned: Limits,
    calm: Limits,
    order: Sequence[str],
    slots: Slots,
) -> Array:
    """Power of the units that ought to run or to be starting."""
    look = slots.start + slots.length - 1e-6 + source.start_time
    ahead = np.searchsorted(slots.start, look, side="right") - 1
    now = in_order(wanted, warned, order).sources[name]
    planned = in_order(wanted, calm, order).sources[name][ahead]
    settled = np.all([limit == limit[ahead] for limit in warned.values()], axis=0)
    need = np.maximum(np.maximum(now, planned), np.where(settled, now[ahead], 0.0))
    whole = np.ceil(need / source.unit - 1e-9) * source.unit
    # Also those who wait for the source's first day: a start begins when it is there.
    return np.asarray(np.where(calm[name] > 0, np.minimum(whole, source.limit), 0.0))


def _after_start(need: Array, start_time: float, slots: Slots) -> Array:
    """What was needed all through the last ``start_time`` s, [S]; at first all runs.

    Whole hours know no delay: what rises within them is slow weather, and foreseen.
    """
    ready = need.copy()
    for back in range(1, need.size):
        ended = slots.start[:-back] + slots.length[:-back]
        recent = (ended > slots.start[back:] - start_time + 1e-9) & slots.fine[back:]
        if not recent.any():
            break
        ready[back:] = np.where(recent, np.minimum(ready[back:], need[:-back]), ready[back:])
    return np.asarray(ready)


def _survives(begun: Mapping[str, Array], alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Slots without any other power in which units that ran before go on alone."""
    on = _any(begun.values())
    found = np.zeros(alive.shape, dtype=bool)
    for slot in np.flatnonzero(~alive).tolist():
        found[slot] = (
            slot > 0 and (alive[slot - 1] or found[slot - 1]) and on[slot - 1] and on[slot]
        )
    return found


def _any(powers: Iterable[Array]) -> NDArray[np.bool_]:
    stacked = np.array(list(powers))
    return np.asarray((stacked > 0).any(axis=0)) if stacked.size else np.asarray(False)
