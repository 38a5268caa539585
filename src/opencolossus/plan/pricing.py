"""Time, bytes and watts of layouts on one pool of a cluster, at any power cap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opencolossus.fabric import clos
from opencolossus.plan import machines
from opencolossus.plan.filled import spread
from opencolossus.plan.stored import Stored
from opencolossus.power.caps import speed_at_cap
from opencolossus.power.demand import mean_gpu_power, node_power
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.model import Model
from opencolossus.specs.run import Run
from opencolossus.specs.software import Calibration, Software
from opencolossus.step import law
from opencolossus.step import memory as memories
from opencolossus.step.columns import Array
from opencolossus.step.law import Cost
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.memory import Memory
from opencolossus.step.shape import Shape

BLOCK = 1 << 14
"""Layouts priced at a time: their arrays stay in a core's cache."""
HEADROOM = 0.97
"""Share of a GPU's memory that a plan fills at most; the rest is lost to fragmentation."""
IMBALANCE = 1.1
"""Tokens of the fullest expert rank over the mean in real training (assumed: benchmarks force
balance, and auxiliary losses keep it near 1)."""


@dataclass(frozen=True)
class Priced:
    """Layouts with what they cost, one entry each."""

    layouts: Layouts
    seconds: Array
    memory: Array
    """Bytes on the fullest GPU."""
    gpu_power: Array
    """Mean W of a working GPU."""
    sequence: float

    @cached_property
    def tokens_per_second(self) -> Array:
        """Tokens trained on per second while the run runs."""
        return np.asarray(self.layouts.batch * self.sequence / self.seconds)

    def __len__(self) -> int:
        return int(self.seconds.size)


Filled = tuple[float, int, Priced]
"""Cap in W, GPUs, and what was priced there."""


@dataclass(frozen=True)
class Pricing:
    """Everything that stays the same while layouts, caps and numbers of GPUs are tried."""

    model: Model
    run: Run
    cluster: Cluster
    pool: Pool
    software: Software
    calibration: Calibration
    shape: Shape
    code: Code

    @staticmethod
    def of(
        model: Model,
        run: Run,
        cluster: Cluster,
        pool: Pool,
        software: Software,
        calibration: Calibration,
    ) -> Pricing:
        """Prepare to price ``model`` on ``pool``."""
        code = machines.code(
            software,
            calibration,
            run.precision,
            imbalance=IMBALANCE if model.experts else 1.0,
            capped=model.attention_softcap is not None,
            optimiser=run.optimiser.name,
        )
        shape = Shape.of(model, run.sequence, run.document, dropout=float(software.dropout))
        return Pricing(model, run, cluster, pool, software, calibration, shape, code)

    def machine(self, cap: float, gpus: int) -> Machine:
        """The machine at ``cap`` W per GPU on a fabric for ``gpus``."""
        return self.machines([cap], [gpus]).take(0)

    def machines(self, caps: Sequence[float], gpus: Sequence[int]) -> Machine:
        """The machines at several caps, each on a fabric for its number of GPUs."""
        node, fabric = self.pool.node, self.cluster.fabric
        sizes = [clos.size(node, fabric, max(count, node.gpus)) for count in gpus]
        return machines.machine(
            node,
            fabric,
            self.run.precision,
            self.calibration,
            clock=speed_at_cap(node.gpu, caps),
            memory_clock=speed_at_cap(node.gpu, caps, "memory"),
            pod=np.array([size.pod / max(node.nics, 1) * node.gpus for size in sizes]),
            tiers=np.array([max(size.tiers, 1) for size in sizes]),
        )

    def price(
        self,
        layouts: Layouts,
        cap: float,
        gpus: int,
        machine: Machine | None = None,
        held: Array | None = None,
    ) -> Priced:
        """Seconds, bytes (unless known, ``held``) and watts of every layout, block by block."""
        at = machine or self.machine(cap, gpus)
        count = layouts.tensor.size
        memory = self.memory(layouts) if held is None else held
        seconds, watts = np.empty(count), np.empty(count)
        layers, which = law.distinct_layers(self.shape, at, self.code, layouts)
        # sharded and whole weights are priced by different laws: most blocks need only one
        order = np.argsort(layouts.zero >= 3, kind="stable")
        for start in range(0, count, BLOCK):
            part = order[start : start + BLOCK]
            block, one = layouts.take(part), layers.take(which[part])
            cost = law.cost(self.shape, at, self.code, block, one)
            time = cost.time
            seconds[part] = time
            watts[part] = self.gpu_power(cost, cap, time)
        return Priced(layouts, seconds, memory, watts, float(self.run.sequence))

    def price_filled(self, layouts: Layouts, tries: Iterable[tuple[float, int]]) -> list[Filled]:
        """Fill GPUs with ``layouts`` and price them, for each cap (W) and number of GPUs to try.

        Numbers of GPUs that no layout fills are left out.
        """
        batch = self.run.batch_sequences
        items = [(spread(layouts, batch, gpus), cap, gpus) for cap, gpus in tries if gpus >= 1]
        items = [item for item in items if item[0].length]
        if not items:
            return []
        filled, caps, gpus = zip(*items, strict=True)
        sizes = [one.length for one in filled]
        which = np.repeat(np.arange(len(items)), sizes)
        at = self.machines(caps, gpus).take(which)
        cost, held = law.price(self.shape, at, self.code, Layouts.join(filled))
        watts = self.gpu_power(cost, np.array(caps)[which])
        ends = np.cumsum(sizes)[:-1]
        columns = (np.split(column, ends) for column in (cost.time, held.total, watts))
        sequence = float(self.run.sequence)
        return [
            (cap, count, Priced(one, seconds, memory, power, sequence))
            for (one, cap, count), seconds, memory, power in zip(items, *columns, strict=True)
        ]

    def memory(self, layouts: Layouts) -> Array:
        """Bytes on the fullest GPU of every layout, block by block."""
        count = layouts.tensor.size
        held = np.empty(count)
        for start in range(0, count, BLOCK):
            part = slice(start, start + BLOCK)
            held[part] = memories.memory(self.shape, self.code, layouts.take(part)).total
        return held

    def held(self, lattice: Stored) -> Array:
        """The same of a whole lattice, which shares what its cuts and its ways have in common."""
        held = [
            memories.memory(self.shape, self.code, block).total.T.ravel()
            for block in lattice.blocks(2 * BLOCK)
        ]
        return np.concatenate(held)[lattice.index] if held else np.empty(0)

    def detail(
        self, layouts: Layouts, cap: float, gpus: int, machine: Machine | None = None
    ) -> tuple[Cost, Memory]:
        """Costs of a few layouts with all their parts."""
        return law.price(self.shape, machine or self.machine(cap, gpus), self.code, layouts)

    def gpu_power(self, cost: Cost, cap: float | Array, time: Array | None = None) -> Array:
        """Mean W of one GPU over a step: products, memory, messages, and waiting for the rest."""
        time = cost.time if time is None else time
        moving = cost.memory_bound + cost.optimiser
        products = np.maximum(cost.compute + cost.recompute - cost.memory_bound, 0.0)
        return mean_gpu_power(
            self.pool.node.gpu,
            cap,
            products / time,
            np.minimum(moving / time, 1.0),
            cost.communication / time,
        )

    def fits(self, memory: Array) -> NDArray[np.bool_]:
        """Whether that many bytes fit on a GPU."""
        return np.asarray(memory <= HEADROOM * self.pool.node.gpu.memory)

    def node_watts(self, gpu_watts: float) -> float:
        """W of one server at the wall."""
        return float(node_power(self.pool.node, gpu_watts))

    def with_code(self, **changes: float) -> Pricing:
        """The same with some of the software's numbers changed."""
        arrays = {name: np.asarray(value) for name, value in changes.items()}
        return replace(self, code=replace(self.code, **arrays))
