"""Every layout of a model on a number of GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opencolossus.specs.counts import divisors
from opencolossus.specs.hardware import Node
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run
from opencolossus.step.columns import Array
from opencolossus.step.layouts import DUALPIPE, RECOMPUTE, SCHEDULES, ZB_H1, ZB_H2, Layouts

SLACK = 0.05
"""Change of the batch that is taken in exchange for using all GPUs."""
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

    @property
    def size(self) -> int:
        """Points of the grid, invalid ones included."""
        return int(np.prod([len(getattr(self, name)) for name in self.__dataclass_fields__]))


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
    )


def powers(most: int) -> list[int]:
    """1, 2, 4, ... up to ``most``."""
    return [2**i for i in range(max(int(most), 1).bit_length())]


def lattice(grid: Axes, layers: int, batch: int, gpus: int) -> Layouts:
    """All valid layouts that use as many of ``gpus`` GPUs as they can, as arrays."""
    pipes = _pipelines(grid, layers)
    cuts = _product(grid.tensor, grid.context, grid.expert)
    model_parallel = cuts[0][:, None] * cuts[1][:, None] * pipes[0][None, :]
    cut, pipe = np.nonzero(model_parallel <= gpus)
    rest = _product(grid.micro_batch, grid.zero, grid.recompute)
    count = rest[0].size
    cut, pipe = np.repeat(cut, count), np.repeat(pipe, count)
    repeats = cut.size // count if count else 0
    micro, zero, again = (np.tile(column, repeats) for column in rest)
    tensor, context, expert = (column[cut] for column in cuts)
    found = Layouts.make(
        tensor=tensor,
        context=context,
        pipeline=pipes[0][pipe],
        virtual=pipes[1][pipe],
        expert=expert,
        data=np.ones(cut.size),
        micro_batch=micro,
        batch=np.full(cut.size, float(batch)),
        zero=zero,
        recompute=again,
        recompute_share=1.0,
        schedule=pipes[2][pipe],
        expert_tensor=np.where(expert > 1, 1.0, tensor),
        shard_group=0.0,
    )
    return spread(found, batch, gpus)


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


def spread(layouts: Layouts, batch: int, gpus: int) -> Layouts:
    """Fill ``gpus`` GPUs with replicas and fit the batch; drop layouts that cannot.

    All replicas are used where the batch then changes by at most ``SLACK``; else as many as
    divide it best. Expert-parallel groups are kept whole, and interleaved schedules get
    micro-batches in multiples of the pipeline, as Megatron-LM asks.
    """
    size = layouts.tensor * layouts.context * layouts.pipeline
    inner = layouts.tensor * layouts.context
    group = layouts.expert / np.gcd(layouts.expert.astype(np.int64), inner.astype(np.int64)).astype(
        np.float64
    )
    most = np.floor(gpus / size / group) * group
    step = np.where(layouts.virtual > 1, layouts.pipeline, 1.0)
    all_used, near = _fit(layouts, most, step, batch, np.rint)
    enough = np.ceil(np.maximum(batch / np.maximum(most * layouts.micro_batch, 1.0) / step, 1e-9))
    fewer = np.floor(batch / (enough * step * layouts.micro_batch) / group) * group
    fewer = np.minimum(fewer, most)
    less_used, close = _fit(layouts, fewer, step, batch, np.floor)
    first = near <= SLACK
    data = np.where(first, most, fewer)
    total = np.where(first, all_used, less_used)
    valid = (data >= 1) & (np.where(first, near, close) <= SLACK) & (total > 0)
    if not valid.any():
        valid = (data >= 1) & (total > 0)
    kept = replace(layouts, data=data, batch=total)
    return kept.take(valid)


def _fit(
    layouts: Layouts, data: Array, step: Array, batch: int, rounding: np.ufunc
) -> tuple[Array, Array]:
    """The batch of ``data`` replicas nearest to ``batch``, and how far it is off."""
    unit = np.maximum(data * layouts.micro_batch * step, 1.0)
    counted = np.maximum(rounding(batch / unit + 1e-9), 1.0)
    total = unit * counted
    return total, np.abs(total / batch - 1)


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
        recompute=names[float(number(one.recompute))],  # type: ignore[arg-type]
    )
    return layout, number(one.data), schedules[float(number(one.schedule))]
