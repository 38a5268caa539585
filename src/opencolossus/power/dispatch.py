"""Who delivers the watts: merit order above minimum loads, batteries, permits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from opencolossus.power.caps import Array
from opencolossus.power.slots import HOUR
from opencolossus.specs.sources import Battery


@dataclass(frozen=True)
class Dispatch:
    """Mean power in W by slot of time, shape [S] each."""

    sources: dict[str, Array]
    """What each source delivers; of batteries, positive when they give and negative when they
    take."""
    stored: dict[str, Array]
    """Energy in each battery at the end of the slot, in J."""
    unserved: Array
    """Demand that nothing could carry; 0 wherever demand was held to ``carried``."""
    permit_prices: dict[str, float] = field(default_factory=dict)
    """What one more kg of NOx would save, in dollars, where a program has weighed permits."""


def in_order(
    demand: Array,
    limits: Mapping[str, Array],
    order: Sequence[str],
    floors: Mapping[str, Array] | None = None,
) -> Dispatch:
    """Fill ``demand`` [S] from sources in ``order``, none above its limit.

    Sources that run give their ``floors`` (minimum loads) first; where those are more than the
    demand, the last in order stop.
    """
    left = np.asarray(demand, dtype=float)
    given = {}
    for name in order:
        floor = 0.0 if floors is None else floors.get(name, 0.0)
        given[name] = np.minimum(left, np.minimum(floor, limits[name]))
        left = left - given[name]
    for name in order:
        more = np.minimum(left, limits[name] - given[name])
        given[name] = given[name] + more
        left = left - more
    return Dispatch(given, {}, np.maximum(left, 0.0))


@dataclass(frozen=True)
class Storage:
    """One battery and the slots of time in which it is there."""

    battery: Battery
    present: Array

    def play(self, gap: Array, spare: Array, length: Array | None = None) -> tuple[Array, Array]:
        """Give where ``gap`` [S] (W) is open, take from ``spare`` [S]; return (power, energy).

        Slots last ``length`` [S] s, an hour if left out. Losses are split evenly between the ways
        in and out. Power is positive when it gives, energy is what is stored at the end of each
        slot, in J.
        """
        battery, way = self.battery, self.battery.efficiency**0.5
        stored = battery.charge * battery.energy
        power, energy = np.zeros(gap.shape), np.zeros(gap.shape)
        gaps, spares, there = gap.tolist(), spare.tolist(), self.present.tolist()
        lasting = np.full(gap.shape, HOUR).tolist() if length is None else length.tolist()
        for slot, time in enumerate(lasting):
            if there[slot]:
                out = min(gaps[slot], battery.limit, stored * way / time)
                room = (battery.energy - stored) / way / time
                taken = min(spares[slot], battery.limit, room) if out <= 0 else 0.0
                stored = min(max(stored + (taken * way - out / way) * time, 0.0), battery.energy)
                power[slot] = out - taken
            energy[slot] = stored
        return power, energy


def carried(
    wanted: Array,
    usual: Array,
    firm: Array,
    storages: Mapping[str, Storage],
    length: Array | None = None,
) -> Array:
    """Power in W that sources and batteries together can surely carry in each slot.

    Batteries are played as if they had to give up to ``wanted`` [S] beyond what the sources can
    (``firm``), and could take only what ``usual`` [S] leaves of them. Demand that is never above
    ``usual`` where it leaves something, and never above the result, finds at least as much stored
    as this play does.
    """
    total = np.array(firm, dtype=float)
    gap, spare = np.maximum(wanted - firm, 0.0), np.maximum(firm - usual, 0.0)
    for storage in storages.values():
        power, _ = storage.play(gap, spare, length)
        total = total + np.maximum(power, 0.0)
        gap, spare = gap - np.maximum(power, 0.0), spare - np.maximum(-power, 0.0)
    return np.asarray(total)


def dispatch(
    demand: Array,
    limits: Mapping[str, Array],
    order: Sequence[str],
    storages: Mapping[str, Storage],
    floors: Mapping[str, Array] | None = None,
    length: Array | None = None,
) -> Dispatch:
    """Carry ``demand`` [S] (W) by merit order, batteries filling what the sources cannot."""
    firm = np.sum(list(limits.values()), axis=0)
    gap, spare = np.maximum(demand - firm, 0.0), np.maximum(firm - demand, 0.0)
    powers: dict[str, Array] = {}
    stored: dict[str, Array] = {}
    net = np.asarray(demand, dtype=float)
    for name, storage in storages.items():
        powers[name], stored[name] = storage.play(gap, spare, length)
        net = net - powers[name]
        gap = gap - np.maximum(powers[name], 0.0)
        spare = spare - np.maximum(-powers[name], 0.0)
    fed = in_order(net, limits, order, floors)
    return Dispatch(fed.sources | powers, stored, fed.unserved)


def rolling_sum(emitted: Array, used: float, window: int = 8766) -> Array:
    """Sum of ``emitted`` [H] over the last ``window`` hours, with ``used`` spread before them."""
    total = np.cumsum(emitted)
    hours = np.arange(1, emitted.size + 1)
    before = used * np.clip(1 - hours / window, 0.0, 1.0)
    out = np.concatenate([np.zeros(min(window, total.size)), total[:-window]])
    return np.asarray(total - out + before)
