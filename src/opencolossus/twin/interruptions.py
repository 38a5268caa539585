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
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.failures import Cause, Failures
from opencolossus.twin.fleet import Fleet
from opencolossus.twin.operating import Operating
from opencolossus.twin.shedding import Stops

Array = NDArray[np.float64]
GROUPS = ("gpu", "silent", "host", "network", "software", "site", "planned", "change")
"""Kinds of causes in the account; ``silent``: of any group, but work was done on wrong numbers."""
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
                "rack": job[row] / pool.node.gpus / pool.rack_servers,
                "switch": switches * share[row],
                "job": (job.sum(axis=0) > 0) * share[row],
            }[cause.per]
            wear = fleet.wear[row] if cause.group in WEARING else 1.0
            columns.append(cause.rate * units * wear * storm)
    return np.stack(columns, axis=1)


def draw(
    failures: Failures,
    pools: Sequence[Pool],
    rate: Array,
    generators: Sequence[np.random.Generator],
) -> Struck:
    """Draw failures and repairs from ``rate`` [H, C * P]."""
    strikes = strike(rate, generators[0])
    causes = list(failures.causes.values())
    kind, pool = strikes.cause // len(pools), strikes.cause % len(pools)
    means = np.array([cause.repair for cause in causes])[kind]
    nodes = np.array([[_leaving(cause, one) for one in pools] for cause in causes])[kind, pool]
    work = repair_times(means, generators[1])
    back = back_in_service(strikes.time, work, failures.crews)
    edges = np.arange(rate.shape[0], dtype=float) * HOUR
    out = [
        out_of_service(strikes.time[pool == p], back[pool == p], nodes[pool == p], edges)
        for p in range(len(pools))
    ]
    return Struck(strikes, back, np.array(out))


def _leaving(cause: Cause, pool: Pool) -> int:
    """Servers that leave together for repair."""
    if not cause.repair:
        return 0
    return pool.rack_servers if cause.per == "rack" else cause.nodes


def interruptions(
    failures: Failures,
    pools: int,
    struck: Struck,
    plans: Sequence[Operating],
    of_hour: NDArray[np.intp],
    climbs: Array,
    stops: Stops,
) -> Interruptions:
    """Join failures with the other ``stops``; in order of time.

    ``plans`` and ``of_hour`` [H] tell which plan was at work; ``climbs`` [plans] is time in s
    that a restart loses while the sources follow.
    """
    causes = list(failures.causes.values())
    kind = struck.strikes.cause // pools
    group = np.array([GROUPS.index(cause.group) for cause in causes])[kind]
    hidden = np.array([cause.hidden for cause in causes])[kind]
    group = np.where(hidden > 0, GROUPS.index("silent"), group)
    planned = np.array([cause.group == "planned" for cause in causes])[kind]
    time = np.concatenate([struck.strikes.time, stops.time])
    order = np.argsort(time, kind="stable")
    short = np.where(stops.site, GROUPS.index("site"), GROUPS.index("change"))
    orderly = np.concatenate([planned, ~stops.sudden])
    hour = np.minimum((time / HOUR).astype(int), of_hour.size - 1)
    plan = of_hour[hour]
    sudden = np.concatenate([np.zeros(planned.size, dtype=bool), stops.sudden])
    down, kept = _outage(failures, plans, plan, climbs[plan], orderly, sudden)
    return Interruptions(
        time=time[order],
        down=(down + np.concatenate([hidden, stops.lasting]))[order],
        interval=np.array([p.interval for p in plans])[plan][order],
        write=np.array([p.write for p in plans])[plan][order],
        kept=kept[order],
        group=np.concatenate([group, short])[order],
    )


def _outage(
    failures: Failures,
    plans: Sequence[Operating],
    plan: NDArray[np.intp],
    climb: Array,
    planned: NDArray[np.bool_],
    sudden: NDArray[np.bool_],
) -> tuple[Array, NDArray[np.bool_]]:
    """Time from each stop to full work again, and whether the run keeps its last work."""
    recovery = failures.recovery
    ranks = np.array([p.total for p in plans])[plan]
    write = np.array([p.write for p in plans])[plan]
    begin = recovery.restart + recovery.setup_per_rank * ranks + climb
    if recovery.mode == "restart":
        return np.where(planned, write, recovery.detection) + begin, planned
    replicas = np.array([p.replicas for p in plans])[plan]
    step = np.array([p.step_time for p in plans])[plan]
    # One replica's power climbs for one replica's work: the triangle's square, over the whole.
    alone = outage(recovery, ranks, replicas) + step + climb / replicas**2
    whole = np.where(planned, write, recovery.detection) + begin
    return np.where(planned | sudden, whole, alone), ~sudden
