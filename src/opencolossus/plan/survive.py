"""What failures take from a run, and whether it is done in time."""

from __future__ import annotations

import functools
import math
from datetime import date, timedelta

import numpy as np

from opencolossus.faults import goodput as laws
from opencolossus.plan.plan import Deadline, Interval, Survival
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.failures import Failures
from opencolossus.specs.scales import DAY

USUAL = "llama3-h100"
"""The catalog's failures of a cluster that tells of none."""


@functools.cache
def usual() -> Failures:
    """What fails where a description does not say."""
    found: Failures = catalog.entry("failures", USUAL)
    return found


def node_rate(failures: Failures, pool: Pool, gpus: int, planned: bool = False) -> float:
    """Interruptions per second and server of a settled cluster: failures, or ``planned`` stops."""
    each = pool.node.gpus
    per = {
        "gpu": each,
        "node": 1.0,
        "rack": 1.0 / pool.rack_servers,
        "switch": 1.0 / 8,
        "job": 1.0 / max(gpus / each, 1.0),
    }
    return sum(
        cause.rate * per[cause.per]
        for cause in failures.causes.values()
        if (cause.group == "planned") == planned
    )


def survival(
    cluster: Cluster,
    pool: Pool,
    gpus: int,
    parameters: float,
    replicas: int = 1,
    step_time: float = 0.0,
) -> tuple[float, Survival]:
    """Share of the calendar in which the run makes progress, and what it consists of.

    The checkpoint interval is Daly's optimum, or a step where that is longer; the share is
    Daly's renewal formula (2006, eq. 20), or that of ``replicas`` that go on without the failed
    one. Planned stops save first and cost their restart alone.
    """
    failures = cluster.failures or usual()
    recovery = failures.recovery
    nodes = max(gpus / pool.node.gpus, 1.0)
    rate = float(laws.interrupt_rate(nodes, node_rate(failures, pool, gpus)))
    stops = float(laws.interrupt_rate(nodes, node_rate(failures, pool, gpus, planned=True)))
    bandwidth = laws.checkpoint_bandwidth(cluster, pool, gpus)
    size = laws.checkpoint_size(parameters)
    write = float(laws.write_time(size, bandwidth, recovery.checkpoint_blocking))
    restart = float(laws.outage(recovery, gpus, replicas))
    mttf = 1 / rate if rate > 0 else math.inf
    interval = float(laws.optimum_interval(max(write, 1e-3), min(mttf, 1e12)))
    interval = max(interval, step_time)
    law = laws.replica_goodput if recovery.mode == "replica" else laws.renewal_goodput
    share = float(law(rate, interval, max(write, 1e-3), restart))
    share *= max(1 - stops * restart, 0.0)
    found = Survival(
        mttf=min(mttf, 1e12),
        checkpoint_interval=interval,
        checkpoint_write=write,
        restart=restart,
    )
    return share, found


def deadline(
    start: date | None,
    due: date | None,
    days: float,
    goodput: float,
    survival: Survival,
    interval: Interval,
    step_time: float,
) -> Deadline | None:
    """Whether ``days`` end before ``due``, and with which probability.

    The step time is log-normal with the 90 % interval's width; the number of interruptions is
    Poisson, so the time lost to them has a relative spread of 1 / sqrt(their number).
    """
    if start is None or due is None:
        return None
    wide = math.log(interval.high / step_time) / 1.645
    lost = max(1 - goodput, 1e-9)
    events = max(days * DAY / survival.mttf, 1e-9)
    spread = math.hypot(wide, lost / goodput / math.sqrt(max(events, 1.0)))
    room = (due - start).days
    score = math.log(max(room, 1e-3) / max(days, 1e-9)) / max(spread, 1e-6)
    probability = 0.5 * math.erfc(-score / math.sqrt(2))
    return Deadline(date=due, met=bool(days <= room), probability=float(np.clip(probability, 0, 1)))


def finish(start: date | None, days: float) -> date | None:
    """Day on which the run ends, where it can be named."""
    if start is None or not math.isfinite(days) or days > 365 * 1000:
        return None
    return start + timedelta(days=math.ceil(days))
