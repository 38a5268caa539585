"""GPUs that arrive: per pool and hour, never one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from opencolossus.faults.process import infant_factor
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.errors import UserError
from opencolossus.specs.failures import Failures

Array = NDArray[np.float64]
DAY = 86400.0


@dataclass(frozen=True)
class Fleet:
    """GPUs of the cluster over the hours of the calendar; arrays of shape [P, H]."""

    delivered: Array
    """Arrived at the site."""
    ready: Array
    """Past their acceptance tests."""
    wear: Array
    """Failure rate of hardware as a multiple of the settled rate, for the mix of ages."""


def fleet(cluster: Cluster, failures: Failures, hours: NDArray[np.datetime64]) -> Fleet:
    """Follow all pools through ``hours`` [H].

    Raises:
        UserError: nothing arrives before the calendar ends.
    """
    days = hours.astype("datetime64[D]")
    unique, of_day = np.unique(days, return_inverse=True)
    calendar = [day.astype(object) for day in unique]
    pools = list(cluster.pools.values())
    delivered = np.array([[_arrived(pool, day) for day in calendar] for pool in pools], dtype=float)
    ready = np.array([[pool.delivered(day) for day in calendar] for pool in pools], dtype=float)
    if ready[:, -1].sum() == 0:
        first = min(d.date for pool in pools for d in pool.deliveries)
        raise UserError(
            f"calendar.end ({calendar[-1]}) comes before the first GPUs are ready "
            f"(first delivery {first}); choose a later end"
        )
    wear = np.array([_wear(pool, failures, hours) for pool in pools])
    return Fleet(delivered[:, of_day], ready[:, of_day], wear)


def per_node(cluster: Cluster) -> Array:
    """GPUs of one server of each pool, [P, 1]."""
    return np.array([[pool.node.gpus] for pool in cluster.pools.values()], dtype=float)


def _arrived(pool: Pool, day: date) -> int:
    if not pool.deliveries:
        return pool.gpus
    return sum(delivery.arrived(day) for delivery in pool.deliveries)


def _wear(pool: Pool, failures: Failures, hours: NDArray[np.datetime64]) -> Array:
    """Mean of the infant factor over the lots that are ready, [H]; 1 for an old fleet."""
    lots = [
        (lot + timedelta(seconds=pool.acceptance), delivery.gpus / len(delivery.lots))
        for delivery in pool.deliveries
        for lot, _ in delivery.lots
    ]
    if not lots or failures.infant_factor == 1:
        return np.ones(hours.size)
    begin = np.array([np.datetime64(day, "h") for day, _ in lots])
    size = np.array([gpus for _, gpus in lots])
    age = (hours[None, :] - begin[:, None]).astype(float) * 3600
    factor = infant_factor(age, failures.infant_factor, failures.infant_time)
    there = (age >= 0) * size[:, None]
    total = there.sum(axis=0)
    mean = np.divide((factor * there).sum(axis=0), total, out=np.ones(hours.size), where=total > 0)
    return np.asarray(mean)
