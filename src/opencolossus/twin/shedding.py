"""Stretches of time in which servers are off for want of power, and the stops that they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.slots import Slots
from opencolossus.twin.control import Held

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stops:
    """Stops that are no failures of parts, in order of time; [K] each."""

    time: Array
    """Seconds since the start."""
    lasting: Array
    """Seconds for which nothing can run after each."""
    sudden: NDArray[np.bool_]
    """Whether work since the last checkpoint is lost."""
    site: NDArray[np.bool_]
    """Whether want of power is the cause, not a change of plan."""


def settle(held: Held, slots: Slots) -> Held:
    """Let servers that went off come back at most twice: nobody regroups every minute.

    In each stretch of want they come back once while power is short, when what is surely there
    from then on is worth most (share times time), and all together when it is over.
    """
    on = held.on.copy()
    off = on < 1 - 1e-9
    edges = np.diff(off.astype(int), prepend=0, append=0)
    for begin, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        part = on[begin:end]
        surely = np.minimum.accumulate(part[::-1])[::-1]
        left = np.cumsum(slots.length[begin:end][::-1])[::-1]
        back = int(np.argmax(surely * left))
        on[begin : begin + back] = part[: back + 1].min()
        on[begin + back : end] = surely[back]
    return Held(held.cap, np.where(off, on, 1.0))


def stops(held: Held, replicas: Array, slots: Slots, outages: NDArray[np.bool_]) -> Stops:
    """A stop where servers go off, and an orderly one where they come back.

    ``replicas`` [S] of the plan; ``outages`` [S] tells where a source has failed: there nobody
    had time to save. A plan that begins in the dark begins with a stop.
    """
    level = np.where(replicas > 0, np.floor(held.on * replicas + 1e-9), 0.0)
    before = np.concatenate([[0.0], level[:-1]])
    new_plan = replicas != np.concatenate([[0.0], replicas[:-1]])
    changes = np.flatnonzero((level != before) & ~new_plan & (replicas > 0))
    dark_starts = np.flatnonzero(new_plan & (replicas > 0) & (level == 0))
    breaks = np.append(np.flatnonzero((level != before) | new_plan), level.size)
    final = np.append(slots.start, slots.start[-1] + slots.length[-1])
    rows = []
    for slot in np.union1d(changes, dark_starts).tolist():
        less = level[slot] < before[slot] or level[slot] == 0
        if less or before[slot] > 0:  # after the dark the restart is part of the first stop
            end = breaks[np.searchsorted(breaks, slot, side="right")]
            dark = float(final[end] - final[slot]) if level[slot] == 0 else 0.0
            rows.append((float(slots.start[slot]), dark, bool(less and outages[slot]), bool(less)))
    time, lasting, sudden, site = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Stops(
        np.array(time), np.array(lasting), np.array(sudden, dtype=bool), np.array(site, dtype=bool)
    )


def joined(one: Stops, other: Stops) -> Stops:
    """Both, in order of time."""
    time = np.concatenate([one.time, other.time])
    order = np.argsort(time, kind="stable")
    return Stops(
        time[order],
        np.concatenate([one.lasting, other.lasting])[order],
        np.concatenate([one.sudden, other.sudden])[order],
        np.concatenate([one.site, other.site])[order],
    )
