"""Dice and dates become the interruptions of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.faults.goodput import outage
from opencolossus.faults.process import HOUR, Strikes, strike
from opencolossus.faults.repair import back_in_service, out_of_service, repair_times
from opencolossus.faults.timeline import Interruptions
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.failures import Failures
from opencolossus.twin.fleet import Fleet
from opencolossus.twin.operating import Operating

Array = NDArray[np.float64]
GROUPS = ("gpu", "host", "network", "software", "site", "planned", "change")
WEARING = ("gpu", "host", "network")


@dataclass(frozen=True)
class Struck:
    """Failures of the whole time."""

    strikes: Strikes
    """``cause`` counts causes first, then pools: cause * P + pool."""
    back: Array
    """Time at which the servers are back, [E]."""
    out: Array
    """Servers in repair at the start of each hour by pool, [P, H]."""


def rates(
    cluster: Cluster,
    failures: Failures,
    fleet: Fleet,
    job: Array,
    switches: Array,
    hours: NDArray[np.datetime64],
) -> Array:
    """Failures per second of the job's parts, [H, C * P].

    ``job`` [P, H] are the GPUs in the job, ``switches`` [H] those that serve it.
    """
    pools = list(cluster.pools.values())
    share = job / np.maximum(job.sum(axis=0), 1.0)
    columns = []
    for name, cause in failures.causes.items():
        storm = np.ones(hours.size)
        for one in failures.storms:
            if one.cause == name:
                begin = np.datetime64(one.start, "h")
                end = begin + np.timedelta64(round(24 * one.days), "h")
                storm = np.where((hours >= begin) & (hours < end), storm * one.factor, storm)
        for row, pool in enumerate(pools):
            units = {
                "gpu": job[row],
                "node": job[row] / pool.node.gpus,
                "switch": switches * share[row],
                "job": (job.sum(axis=0) > 0) * share[row],
            }[cause.per]
            wear = fleet.wear[row] if cause.group in WEARING else 1.0
            columns.append(cause.rate * units * wear * storm)
    return np.stack(columns, axis=1)


def draw(
    failures: Failures, pools: int, rate: Array, generators: Sequence[np.random.Generator]
) -> Struck:
    """Draw failures and repairs from ``rate`` [H, C * P]."""
    strikes = strike(rate, generators[0])
    causes = list(failures.causes.values())
    kind, pool = strikes.cause // pools, strikes.cause % pools
    means = np.array([cause.repair for cause in causes])[kind]
    nodes = np.array([cause.nodes if cause.repair else 0 for cause in causes])[kind]
    work = repair_times(means, generators[1])
    back = back_in_service(strikes.time, work, failures.crews)
    edges = np.arange(rate.shape[0], dtype=float) * HOUR
    out = [
        out_of_service(strikes.time[pool == p], back[pool == p], nodes[pool == p], edges)
        for p in range(pools)
    ]
    return Struck(strikes, back, np.array(out))


def interruptions(
    failures: Failures,
    pools: int,
    struck: Struck,
    plans: Sequence[Operating],
    of_hour: NDArray[np.intp],
    changes: Array,
    lasting: Array,
) -> Interruptions:
    """Join failures with the planned stops at ``changes`` (s, [K]); in order of time.

    ``plans`` and ``of_hour`` [H] tell which plan was at work; ``lasting`` [K] is time in s that
    no plan could run after a change, for want of power.
    """
    causes = list(failures.causes.values())
    kind = struck.strikes.cause // pools
    group = np.array([GROUPS.index(cause.group) for cause in causes])[kind]
    hidden = np.array([cause.hidden for cause in causes])[kind]
    planned = np.array([cause.group == "planned" for cause in causes])[kind]
    time = np.concatenate([struck.strikes.time, changes])
    order = np.argsort(time, kind="stable")
    change = np.where(lasting > 0, GROUPS.index("site"), GROUPS.index("change"))
    stops = np.concatenate([planned, np.ones(changes.size, bool)])
    hour = np.minimum((time / HOUR).astype(int), of_hour.size - 1)
    plan = of_hour[hour]
    down, kept = _outage(failures, plans, plan, stops)
    return Interruptions(
        time=time[order],
        down=(down + np.concatenate([hidden, lasting]))[order],
        interval=np.array([p.interval for p in plans])[plan][order],
        write=np.array([p.write for p in plans])[plan][order],
        kept=kept[order],
        group=np.concatenate([group, change])[order],
    )


def _outage(
    failures: Failures,
    plans: Sequence[Operating],
    plan: NDArray[np.intp],
    planned: NDArray[np.bool_],
) -> tuple[Array, NDArray[np.bool_]]:
    """Time from each stop to work again, and whether the run keeps its last work."""
    recovery = failures.recovery
    ranks = np.array([p.total for p in plans])[plan]
    write = np.array([p.write for p in plans])[plan]
    orderly = write + recovery.restart + recovery.setup_per_rank * ranks
    replicas = np.array([p.replicas for p in plans])[plan]
    unplanned = outage(recovery, ranks, replicas)
    if recovery.mode == "restart":
        return np.where(planned, orderly, unplanned), planned
    step = np.array([p.step_time for p in plans])[plan]
    return np.where(planned, orderly, unplanned + step), np.ones_like(planned)
