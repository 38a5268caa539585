"""How sources follow demand from minute to minute: starts, ramps, minimum loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from opencolossus.power.caps import Array
from opencolossus.power.dispatch import in_order
from opencolossus.power.slots import Slots
from opencolossus.specs.sources import Generators, PowerSource


@dataclass(frozen=True)
class Followed:
    """What sources can do in each slot, [S] each."""

    reach: dict[str, Array]
    """Most that each can deliver, in W: what runs, as far as its ramp lets it climb."""
    floor: dict[str, Array]
    """Minimum load of what runs, in W."""
    given: dict[str, Array]
    """What each delivers of the wanted power, in W."""

    @property
    def firm(self) -> Array:
        """What all sources can deliver together, in W."""
        return np.asarray(np.sum(list(self.reach.values()), axis=0))


def follow(
    sources: Mapping[str, PowerSource],
    wanted: Array,
    running: Mapping[str, Array],
    order: Sequence[str],
    slots: Slots,
) -> Followed:
    """Let what is ``running`` [S] (W, by source) follow ``wanted`` [S] (W).

    A source climbs by at most its ramp from what it delivered in the slot before, and falls as
    fast as it must. A draw that is always the same share of the wanted one climbs no faster than
    that share of the ramps.
    """
    floors = {
        name: source.min_load * running[name]
        for name, source in sources.items()
        if isinstance(source, Generators) and name in running
    }
    given = in_order(wanted, running, order, floors).sources
    reach = {name: np.array(running[name], dtype=float) for name in order}
    for slot in _tight(sources, running, order, slots).tolist():
        left = float(wanted[slot])
        for name in order:
            ramp = sources[name].ramp
            if ramp is not None:
                most = given[name][slot - 1] + ramp * slots.length[slot]
                reach[name][slot] = min(reach[name][slot], most)
        for name in order:
            least = floors[name][slot] if name in floors else 0.0
            given[name][slot] = min(left, least, reach[name][slot])
            left -= given[name][slot]
        for name in order:
            more = min(left, reach[name][slot] - given[name][slot])
            given[name][slot] += more
            left -= more
    return Followed(reach, floors, given)


def _tight(
    sources: Mapping[str, PowerSource],
    running: Mapping[str, Array],
    order: Sequence[str],
    slots: Slots,
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Slots in which a ramp may bind, in order of time; at first everything is settled."""
    bound = np.zeros(slots.length.shape, dtype=bool)
    for name in order:
        ramp = sources[name].ramp
        if ramp is not None:
            bound |= ramp * slots.length < running[name]
    bound[:1] = False
    return np.flatnonzero(bound)


def climb(demand: float, idle: float, free: float, ramp: float | None) -> float:
    """Time in s of full work that is lost while power climbs from ``idle`` to ``demand`` (W).

    ``free`` W are there at once (a grid's spare power, a battery); the rest comes at ``ramp``
    W/s. Work follows the power above idle, so the triangle that is missing counts:
    missing² / (2 ramp (demand - idle)).
    """
    missing = max(demand - idle - free, 0.0)
    if ramp is None or missing <= 0:
        return 0.0
    return missing * missing / (2 * ramp * (demand - idle))
