"""What interruptions leave of the time of a synchronous run, exactly.

Between interruptions the run repeats cycles of work and checkpoint. An interruption takes the
unfinished cycle with it; then the run is down until the restart ends, and failures that strike a
restart begin it anew. All interruptions are handled at once: the end of each outage is a running
maximum over the outages before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interruptions:
    """Everything that stops the run, in order of time; arrays of shape [E]."""

    time: Array
    down: Array
    """Time in s from each until the run works again."""
    interval: Array
    """Work between checkpoints at that time, in s."""
    write: Array
    """Time that one checkpoint holds up the run, in s."""
    kept: NDArray[np.bool_]
    """Whether the run saves its work first (planned stops) or hardly loses any (replicas)."""
    group: NDArray[np.intp]
    """Kind of cause, for the account."""


@dataclass(frozen=True)
class Account:
    """Seconds of each bin, shape [T]; together they fill the bin."""

    work: Array
    checkpoint: Array
    rework: Array
    """Work that an interruption took away."""
    down: Array
    """By group, shape [G, T]."""


def account(stops: Interruptions, edges: Array, groups: int) -> Account:
    """Share the time between ``edges`` [T + 1] out over work and losses.

    The run starts at the first edge. Work after the last interruption counts as kept.
    """
    start, end = float(edges[0]), float(edges[-1])
    last = np.array([end])
    time = np.concatenate([stops.time, last])
    down = np.concatenate([stops.down, [0.0]])
    tail = len(stops.interval) - 1
    interval = np.concatenate([stops.interval, stops.interval[tail:] if tail >= 0 else [1.0]])
    write = np.concatenate([stops.write, stops.write[tail:] if tail >= 0 else [0.0]])
    kept = np.concatenate([stops.kept, [True]])
    group = np.concatenate([stops.group, [0]])

    outage_ends = np.maximum.accumulate(time + down)
    begin = np.maximum(start, np.concatenate([[start], outage_ends[:-1]]))
    stop = np.maximum(time, begin)
    cycle = interval + write
    cycles = (stop - begin) / cycle
    saved = begin + np.where(kept, stop - begin, np.floor(cycles) * cycle)
    saved = np.minimum(saved, stop)
    points = np.stack([begin, saved, stop, np.maximum(outage_ends, stop)], axis=1).ravel()

    def spread(amount: Array, phase: int) -> Array:
        """Seconds per bin of something that happens evenly in one phase of each stop."""
        steps = np.zeros((amount.size, 4))
        steps[:, phase] = amount
        total = np.cumsum(steps.ravel())
        return np.asarray(np.diff(np.interp(edges, points, total)))

    productive = (saved - begin) * interval / cycle
    outage = outage_ends - stop
    by_group = [spread(np.where(group == g, outage, 0.0), 3) for g in range(groups)]
    return Account(
        work=spread(productive, 1),
        checkpoint=spread(saved - begin - productive, 1),
        rework=spread(stop - saved, 2),
        down=np.array(by_group).reshape(groups, edges.size - 1),
    )
