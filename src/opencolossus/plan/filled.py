"""Layouts filled with replicas: how many GPUs they use, and what batch they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opencolossus.step.columns import Array
from opencolossus.step.layouts import Layouts

SLACK = 0.05
"""Change of the batch that is taken in exchange for using all GPUs."""


def spread(layouts: Layouts, batch: int, gpus: int) -> Layouts:
    """Fill ``gpus`` GPUs with replicas and fit the batch; drop layouts that cannot.

    All replicas are used where the batch then changes by at most ``SLACK``; else as many as
    divide it best: more would not save a micro-batch. Expert-parallel groups are kept whole.
    Interleaved schedules are tried with groups as small as the pipeline, which hold least, and
    with groups of any equal size, which fit more numbers of GPUs.
    """
    most = most_replicas(layouts, gpus)
    lean, uses = _filled(layouts, most, batch, multiples)
    free, needs = _filled(layouts, most, batch, micro_batches)
    differs = needs & ((free.data != lean.data) | (free.batch != lean.batch) | ~uses)
    if not (uses | differs).any():
        uses = (lean.data >= 1) & (lean.batch > 0)
    return Layouts.join([lean.take(uses), free.take(differs)])


def _filled(
    layouts: Layouts, most: Array, batch: int, counted: Callable[[Layouts, Array, np.ufunc], Array]
) -> tuple[Layouts, NDArray[np.bool_]]:
    """Layouts with replicas and a batch, and whether the batch is near enough to ``batch``."""
    group = expert_group(layouts)
    asked = batch / np.maximum(most * layouts.micro_batch, 1.0)
    all_used = counted(layouts, asked, np.rint) * most * layouts.micro_batch
    enough = counted(layouts, asked, np.ceil)
    fewer = np.floor(batch / (enough * layouts.micro_batch) / group) * group
    fewer = np.minimum(fewer, most)
    less_used = enough * fewer * layouts.micro_batch
    first = np.abs(all_used / batch - 1) <= SLACK
    data = np.where(first, most, fewer)
    total = np.where(first, all_used, less_used)
    valid = (data >= 1) & (total > 0) & (np.abs(total / batch - 1) <= SLACK)
    return replace(layouts, data=data, batch=total), valid


def expert_group(layouts: Layouts) -> Array:
    """Replicas that must come together, because their experts are spread over them."""
    inner = (layouts.tensor * layouts.context).astype(np.int64)
    common = np.gcd(layouts.expert.astype(np.int64), inner)
    return np.asarray(layouts.expert / common)


def most_replicas(layouts: Layouts, gpus: float) -> Array:
    """Replicas that ``gpus`` GPUs hold, whole expert-parallel groups."""
    group = expert_group(layouts)
    size = layouts.tensor * layouts.context * layouts.pipeline
    return np.asarray(np.floor(gpus / size / group) * group)


def micro_batches(layouts: Layouts, asked: Array, rounding: np.ufunc) -> Array:
    """Micro-batches of a replica near ``asked``, as the schedule can take them.

    Interleaved schedules run them in equal groups of at least the pipeline's stages, the rule of
    both PyTorch (``ScheduleInterleaved1F1B``) and Megatron-Core
    (``microbatch_group_size_per_vp_stage``).
    """
    deep = layouts.virtual > 1
    least = np.where(deep, layouts.pipeline, 1.0)
    groups = np.where(deep, np.maximum(np.floor(asked / layouts.pipeline), 1.0), 1.0)
    found = groups * np.maximum(rounding(asked / groups - 1e-9), least)
    return np.asarray(np.where(deep, np.minimum(found, (groups + 1) * layouts.pipeline), found))


def multiples(layouts: Layouts, asked: Array, rounding: np.ufunc) -> Array:
    """The same with groups of exactly as many micro-batches as stages."""
    step = np.where(layouts.virtual > 1, layouts.pipeline, 1.0)
    return np.asarray(step * np.maximum(rounding(asked / step - 1e-9), 1.0))
