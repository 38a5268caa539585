"""Why nothing fits, in one sentence, and the smallest change that would help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from opencolossus.plan import lattice, supply
from opencolossus.plan.fleet import Fleet, whole
from opencolossus.plan.lattice import Axes
from opencolossus.plan.pricing import HEADROOM, Pricing
from opencolossus.plan.stored import Stored
from opencolossus.specs.cluster import Pool
from opencolossus.specs.run import Layout, Run
from opencolossus.specs.units import POWER, SIZE, show
from opencolossus.step.columns import Array

MOST = 1 << 20


def too_little_power(fleet: Fleet, name: str) -> str:
    """The site cannot carry one server."""
    pool = fleet.pools[name]
    assert fleet.limit is not None
    limit = fleet.limit
    for _ in range(40):
        limit *= 1.3
        _, counts = supply.carried(
            fleet.site, fleet.cluster, fleet.original(name), limit, fleet.weather, pool.gpus
        )
        if counts.max() >= 1:
            break
    where = "site.power" if fleet.site else "--power"
    on = f" on {fleet.day}" if fleet.site else ""
    return (
        f"{where}: {show(fleet.limit, POWER, 3)}{on} do not carry one server of "
        f"{pool.node.gpus} {pool.node.gpu.name}; about {show(limit, POWER, 2)} would"
    )


def no_layout(pricing: Pricing, grid: Axes, gpus: int) -> str:
    """No layout can be laid on that many GPUs at all."""
    size = min(grid.tensor) * min(grid.context) * min(grid.pipeline)
    if size > gpus:
        return (
            f"run.layout needs {size} GPUs for one replica, but {gpus} are there; give it fewer "
            f"tensor, context or pipeline ranks, or at least {size} GPUs"
        )
    run = pricing.run
    if run.layout is not None:
        least = run.layout.micro_batch * (
            run.layout.pipeline_parallel if run.layout.virtual_stages > 1 else 1
        )
        return (
            f"run.batch ({run.batch_sequences} sequences) is less than one replica of run.layout "
            f"works on; {least} sequences ({least * run.sequence:,} tokens) would do"
        )
    return (
        f"run.batch ({run.batch_sequences} sequences) cannot be split by any layout on "
        f"{gpus} GPUs; a multiple of {gpus} sequences would"
    )


def no_network(name: str, pool: Pool) -> str:
    """Servers stand side by side without a network."""
    return (
        f"cluster.fabric is none, which joins no servers, but pool {name} has {pool.gpus:,} GPUs "
        f"in servers of {pool.node.gpus}; choose a fabric, for example quantum-2-ndr, or plan "
        f"with --gpus {pool.node.scale_up_domain}"
    )


def too_little_memory(
    pricing: Pricing, layouts: Stored, held: Array, gpus: int, schedules: Sequence[str]
) -> str:
    """No layout fits in memory: by how much the leanest misses, and what would help."""
    leanest = int(np.argmin(held))
    layout, _, _ = lattice.at(layouts.take([leanest]), 0)
    limit = HEADROOM * pricing.pool.node.gpu.memory
    need = float(held[leanest])
    text = (
        f"no layout of {pricing.model.name} on {gpus:,} GPU{'s' * (gpus > 1)} fits in memory: "
        f"the leanest (tensor {layout.tensor_parallel}, pipeline {layout.pipeline_parallel}, "
        f"recompute {layout.recompute}) needs {show(need, SIZE, 3)} of {show(limit, SIZE, 3)} "
        "per GPU"
    )
    return f"{text}; {_remedy(pricing, gpus, schedules)}"


def _remedy(pricing: Pricing, gpus: int, schedules: Sequence[str]) -> str:
    """The smallest of a few changes that makes something fit."""
    run, model, pool = pricing.run, pricing.model, pricing.pool
    if run.layout is not None:
        for changes in _leaner(run.layout):
            again = run.layout.model_copy(update=changes)
            if _fits(pricing, run.model_copy(update={"layout": again}), gpus, schedules):
                told = " and ".join(f"{name} {value}" for name, value in changes.items())
                return f"{told} in run.layout would fit"
    count = gpus
    while count < MOST:
        count *= 2
        if _fits(pricing, run, whole(pool, count), schedules):
            return f"about {count:,} GPUs would hold it"
    return (
        f"a GPU with more memory, or a smaller model than {model.parameters / 1e9:.0f}B, is needed"
    )


def _leaner(layout: Layout) -> Iterator[dict[str, object]]:
    """Changes of a layout that need less memory, the smallest first."""
    powers = [2**i for i in reversed(range(layout.micro_batch.bit_length()))]
    if layout.recompute != "full":
        yield {"recompute": "full"}
    for changes in ({}, {"recompute": "full"}):
        for size in powers:
            if size < layout.micro_batch:
                yield {**changes, "micro_batch": size}
    for stage in range(layout.zero + 1, 4):
        yield {"zero": stage}
    yield {"zero": 3, "recompute": "full", "micro_batch": 1}


def _fits(pricing: Pricing, run: Run, gpus: int, schedules: Sequence[str]) -> bool:
    grid = lattice.axes(pricing.model, run, pricing.pool.node, gpus, schedules)
    batch = max(pricing.run.batch_sequences, 1)
    layouts = lattice.stored(grid, pricing.model.layers, batch, gpus)
    return bool(pricing.fits(pricing.held(layouts)).any())
