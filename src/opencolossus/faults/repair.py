"""Servers out of service while they are repaired."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def repair_times(means: Array, generator: np.random.Generator) -> Array:
    """Draw one repair time per failure, exponential with ``means`` [E]; 0 stays 0."""
    return np.asarray(means * generator.standard_exponential(means.size))


def back_in_service(failed: Array, work: Array, crews: int | None) -> Array:
    """Time at which each server is back, shape [E], for failures in order of time.

    With limited ``crews`` repairs queue first come, first served. Failures that need no repair
    (``work`` 0) wait for nobody.
    """
    if crews is None:
        return np.asarray(failed + work)
    free = [0.0] * crews
    back = failed.copy()
    for i in np.flatnonzero(work > 0):
        begin = max(failed[i], heapq.heappop(free))
        back[i] = begin + work[i]
        heapq.heappush(free, back[i])
    return back


def out_of_service(failed: Array, back: Array, nodes: NDArray[np.intp], edges: Array) -> Array:
    """Servers out of service at each time of ``edges`` [T]."""
    return _count(failed, nodes, edges) - _count(back, nodes, edges)


def _count(times: Array, nodes: NDArray[np.intp], edges: Array) -> Array:
    order = np.argsort(times, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(nodes[order])])
    return np.asarray(total[np.searchsorted(times[order], edges, side="right")])
