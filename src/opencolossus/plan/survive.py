"""What failures take from a run, and whether it is done in time."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np

from opencolossus.faults import goodput as laws
from opencolossus.plan.plan import Deadline, Interval, Survival
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.failures import Failures
from opencolossus.specs.units import DAY

BLOCKING = 0.1
"""Share of a checkpoint's writing that training waits for where nothing is told (assumed)."""
RESTART = 600.0
"""Seconds from a failure to running again where nothing is told (assumed)."""


def node_rate(failures: Failures | None, pool: Pool, gpus: int) -> float:
    """Interruptions per second and server of a settled cluster."""
    each = pool.node.gpus
    if failures is None:
        return laws.LLAMA3_NODE_RATE * each / 8
    per = {
        "gpu": each,
        "node": 1.0,
        "rack": 1.0 / pool.rack_servers,
        "switch": 1.0 / 8,
        "job": 1.0 / max(gpus / each, 1.0),
    }
    return sum(cause.rate * per[cause.per] for cause in failures.causes.values())


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
    one.
    """
    failures = cluster.failures
    rate = float(
        laws.interrupt_rate(max(gpus / pool.node.gpus, 1.0), node_rate(failures, pool, gpus))
    )
    bandwidth = laws.checkpoint_bandwidth(cluster, pool, gpus)
    blocking = failures.recovery.checkpoint_blocking if failures else BLOCKING
    write = float(laws.write_time(laws.checkpoint_size(parameters), bandwidth, blocking))
    restart = float(laws.outage(failures.recovery, gpus, replicas)) if failures else RESTART
    mttf = 1 / rate if rate > 0 else math.inf
    interval = float(laws.optimum_interval(max(write, 1e-3), min(mttf, 1e12)))
    interval = max(interval, step_time)
    alone = failures is not None and failures.recovery.mode == "replica"
    law = laws.replica_goodput if alone else laws.renewal_goodput
    share = float(law(rate, interval, max(write, 1e-3), restart))
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
