"""Every layout of a model on a number of GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan.filled import spread
from opencolossus.plan.stored import Stored
from opencolossus.specs.counts import divisors
from opencolossus.specs.hardware import Node
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run
from opencolossus.step.columns import Array
from opencolossus.step.layouts import DUALPIPE, RECOMPUTE, SCHEDULES, ZB_H1, ZB_H2, Layouts

SHORTEST = 512  # tokens of a sequence on one rank, below which context parallelism makes no sense
DEEPEST = 128
LARGEST_MICRO_BATCH = 32


@dataclass(frozen=True)
class Axes:
    """Values to try along each dimension (ZeRO-0 is left out: ZeRO-1 is as fast and leaner)."""

    tensor: Sequence[int]
    context: Sequence[int]
    pipeline: Sequence[int]
    virtual: Sequence[int]
    expert: Sequence[int]
    micro_batch: Sequence[int]
    zero: Sequence[int]
    recompute: Sequence[float]
    schedule: Sequence[float]
    shard_group: int = 0
    """Ranks that share states, 0 for all."""
    hybrid: int = 0
    """Fully sharded weights are also tried in groups that fill a scale-up domain of so many GPUs,
    replicas of each other (HSDP, Zhao et al. 2023, section 3.2.2); 0: they are not."""

    @property
    def size(self) -> int:
        """Points of the grid, invalid ones included."""
        tried = (getattr(self, name) for name in self.__dataclass_fields__)
        return int(np.prod([len(values) for values in tried if not isinstance(values, int)]))


def axes(model: Model, run: Run, node: Node, gpus: int, schedules: Sequence[str]) -> Axes:
    """All values that make sense for ``model`` on at most ``gpus`` GPUs.

    A layout given in ``run.layout`` is taken as it is.
    """
    if run.layout is not None:
        return pinned(run.layout, schedules)
    heads = [t for t in powers(min(gpus, node.scale_up_domain, 64)) if model.heads % t == 0]
    inner = model.feed_forward or model.expert_feed_forward
    longest = run.sequence // SHORTEST
    depth = sorted(
        {p for n in (model.layers, model.layers + 1, model.layers + 2) for p in divisors(n)}
        | set(powers(DEEPEST))
    )
    chunks = range(1, model.layers + 1)
    return Axes(
        tensor=[t for t in heads if inner % t == 0] or [1],
        context=[c for c in powers(min(gpus, 64)) if c <= max(longest, 1)],
        pipeline=[p for p in depth if p <= min(model.layers, gpus, DEEPEST)],
        virtual=[v for v in chunks if v <= 4 or model.layers % v == 0 or v % 4 == 0],
        expert=[e for e in divisors(model.experts) if e <= gpus] if model.experts else [1],
        micro_batch=powers(min(LARGEST_MICRO_BATCH, run.batch_sequences)),
        zero=[1, 2, 3],
        recompute=sorted(RECOMPUTE.values()),
        schedule=[SCHEDULES[name] for name in schedules],
        hybrid=node.scale_up_domain if gpus > node.scale_up_domain else 0,
    )


def pinned(layout: Layout, schedules: Sequence[str]) -> Axes:
    """The axes of one given layout."""
    return Axes(
        tensor=[layout.tensor_parallel],
        context=[layout.context_parallel],
        pipeline=[layout.pipeline_parallel],
        virtual=[layout.virtual_stages],
        expert=[layout.expert_parallel],
        micro_batch=[layout.micro_batch],
        zero=[layout.zero],
        recompute=[RECOMPUTE[layout.recompute]],
        schedule=[SCHEDULES[name] for name in schedules],
        shard_group=layout.shard_group,
    )


def powers(most: int) -> list[int]:
    """1, 2, 4, ... up to ``most``."""
    return [2**i for i in range(max(int(most), 1).bit_length())]


def lattice(grid: Axes, layers: int, batch: int, gpus: int) -> Layouts:
    """All valid layouts that use as many of ``gpus`` GPUs as they can, as arrays."""
    return stored(grid, layers, batch, gpus).take()


def stored(grid: Axes, layers: int, batch: int, gpus: int) -> Stored:
    """The same, not written out: the cuts, and the ways to store that each is tried with."""
    cuts = _cuts(grid, layers, batch, gpus)
    zero, recompute = _product(grid.zero, grid.recompute)
    index = np.arange(cuts.length * zero.size)
    if not grid.hybrid:
        return Stored(cuts, zero, recompute, index)
    grouped = in_domains(cuts, grid.hybrid)
    more = index.size + np.arange(grouped.length * zero.size).reshape(-1, zero.size)
    index = np.concatenate([index, more[:, zero >= 3].ravel()])
    return Stored(Layouts.join([cuts, grouped]), zero, recompute, index)


def _cuts(grid: Axes, layers: int, batch: int, gpus: int) -> Layouts:
    """The layouts but for ZeRO and recomputation, which change neither replicas nor batch."""
    pipes = _pipelines(grid, layers)
    cuts = _product(grid.tensor, grid.context, grid.expert)
    model_parallel = cuts[0][:, None] * cuts[1][:, None] * pipes[0][None, :]
    cut, pipe = np.nonzero(model_parallel <= gpus)
    count = len(grid.micro_batch)
    micro = np.tile(np.asarray(grid.micro_batch, dtype=np.float64), cut.size)
    cut, pipe = np.repeat(cut, count), np.repeat(pipe, count)
    tensor, context, expert = (column[cut] for column in cuts)
    found = Layouts.make(
        tensor=tensor,
        context=context,
        pipeline=pipes[0][pipe],
        virtual=pipes[1][pipe],
        expert=expert,
        data=1.0,
        micro_batch=micro,
        batch=float(batch),
        zero=0.0,
        recompute=0.0,
        recompute_share=1.0,
        schedule=pipes[2][pipe],
        expert_tensor=np.where(expert > 1, 1.0, tensor),
        shard_group=float(grid.shard_group),
    )
    return spread(found, batch, gpus)


def in_domains(layouts: Layouts, domain: int) -> Layouts:
    """Those whose sharers of fully sharded weights can be cut into groups inside a domain.

    The groups must divide the ranks that hold the same weights, experts included.
    """
    share = np.floor(domain / layouts.tensor)
    replicas = layouts.replicas
    good = (share > 1) & (replicas > share)
    good &= np.mod(replicas, np.maximum(share, 1.0)) == 0
    experts = layouts.expert_replicas
    good &= np.mod(experts, np.clip(share, 1.0, experts)) == 0
    return replace(layouts, shard_group=share).take(good)


def _product(*values: Sequence[float]) -> list[Array]:
    """Columns of the Cartesian product."""
    grids = np.meshgrid(*[np.asarray(v, dtype=np.float64) for v in values], indexing="ij")
    return [grid.ravel() for grid in grids]


def _pipelines(grid: Axes, layers: int) -> list[Array]:
    """Pipelines with chunks that hold at least one layer, and schedules that fit them."""
    stages, chunks, schedule = _product(grid.pipeline, grid.virtual, grid.schedule)
    most = np.maximum(np.ceil(layers / stages), 1)
    keep = chunks <= most
    keep &= (chunks == 1) | ((stages > 1) & (np.ceil(layers / (stages * chunks)) * chunks <= most))
    zero_bubble = (schedule == ZB_H1) | (schedule == ZB_H2) | (schedule == DUALPIPE)
    keep &= ~zero_bubble | ((stages > 1) & (chunks == 1))
    keep &= (schedule != DUALPIPE) | (np.mod(stages, 2) == 0)
    return [column[keep] for column in (stages, chunks, schedule)]


def at(layouts: Layouts, index: int) -> tuple[Layout, int, str]:
    """One layout as people write it, with its replicas and its schedule."""
    one = layouts.take(slice(index, index + 1))
    names = {value: name for name, value in RECOMPUTE.items()}
    schedules = {value: name for name, value in SCHEDULES.items()}

    def number(column: NDArray[np.float64]) -> int:
        return int(column[0] if column.ndim else column)

    layout = Layout(
        tensor_parallel=number(one.tensor),
        context_parallel=number(one.context),
        pipeline_parallel=number(one.pipeline),
        virtual_stages=number(one.virtual),
        expert_parallel=number(one.expert),
        micro_batch=number(one.micro_batch),
        zero=number(one.zero),
        shard_group=number(one.shard_group),
        recompute=names[float(number(one.recompute))],  # type: ignore[arg-type]
    )
    return layout, number(one.data), schedules[float(number(one.schedule))]
