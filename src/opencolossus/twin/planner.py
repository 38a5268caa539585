"""The plan of each epoch."""

from __future__ import annotations

from datetime import date
from typing import Protocol

import numpy as np

from opencolossus.faults.goodput import checkpoint_size, interrupt_rate, optimum_interval
from opencolossus.power.capacity import gpus_carried
from opencolossus.power.caps import speed_at_cap
from opencolossus.specs.document import Description
from opencolossus.twin.operating import IDLE, Operating


class Planner(Protocol):
    """Chooses how to run on what there is."""

    def __call__(
        self, description: Description, day: date, limit: float, ready: dict[str, int], pue: float
    ) -> Operating: ...


class Remembered:
    """A planner that never searches the same plan twice; it travels between processes."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.known: dict[tuple[object, ...], Operating] = {}

    def __call__(
        self, description: Description, day: date, limit: float, ready: dict[str, int], pue: float
    ) -> Operating:
        """Search, or remember."""
        key = (day, limit, tuple(sorted(ready.items())), pue)
        if key not in self.known:
            self.known[key] = self.planner(description, day, limit, ready, pue)
        return self.known[key]


def rough(
    description: Description, day: date, limit: float, ready: dict[str, int], pue: float
) -> Operating:
    """A plan without a layout: GPUs and cap that multiply most, at an assumed utilisation."""
    cluster, run = description.cluster, description.run
    assert cluster is not None
    name, pool = max(cluster.pools.items(), key=lambda item: ready.get(item[0], 0))
    gpu = pool.node.gpu
    there = int(ready.get(name, 0) * (1 - cluster.spares))
    caps = np.linspace(max(gpu.min_cap, 0.4 * gpu.tdp), gpu.tdp, 61)
    gpus = np.minimum(gpus_carried(cluster, pool, limit, caps, pue), there)
    speed = speed_at_cap(gpu, caps)
    best = int(np.argmax(gpus * speed))
    count = int(gpus[best]) // 64 * 64
    if count == 0:
        return IDLE
    flops = description.model.training_flops_per_token(run.sequence)
    rate = count * gpu.peak_flops(run.precision) * 0.4 * speed[best] / flops
    size = float(checkpoint_size(description.model.parameters))
    write = 0.1 * size / (cluster.storage_bandwidth or 80e6 * count)
    mttf = 1 / float(interrupt_rate(count / pool.node.gpus))
    return Operating(
        gpus={name: count},
        cap=float(caps[best] / gpu.tdp),
        rate=float(rate),
        step_time=run.batch / float(rate),
        compute=0.75,
        memory=0.1,
        communication=0.1,
        replica=64,
        interval=float(optimum_interval(write, mttf)),
        write=float(write),
    )
