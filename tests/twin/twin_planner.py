"""A planner for tests: as many GPUs as the site carries at the cap that multiplies most."""

from datetime import date

import numpy as np

from opencolossus.faults.goodput import interrupt_rate, optimum_interval
from opencolossus.power.capacity import gpus_carried
from opencolossus.power.caps import speed_at_cap
from opencolossus.specs.document import Description
from opencolossus.twin.operating import Operating, idle


def plain(
    description: Description, day: date, limit: float, ready: dict[str, int], pue: float
) -> Operating:
    """Plan without a layout, at 40 % utilisation; replicas of 64 GPUs."""
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
        return idle("one server is not enough")
    flops = description.model.training_flops_per_token(run.sequence)
    rate = count * gpu.peak_flops(run.precision) * 0.4 * speed[best] / flops
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
        interval=float(optimum_interval(5.0, mttf)),
        write=5.0,
    )
