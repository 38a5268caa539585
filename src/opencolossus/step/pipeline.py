"""Pipeline schedules in closed form, stages of unequal work included.

p stages, m micro-batches, v chunks per stage; F, B, W seconds of forward, gradient of inputs and
gradient of weights of one stage and micro-batch. Idle time of a stage beside its work:

* 1F1B (Narayanan et al. 2021, arXiv 2104.04473, section 2.2): (p-1) (F+B+W);
* interleaved 1F1B (same): (p-1) (F+B+W) / v;
* ZB-H1 (Qi et al. 2023, arXiv 2401.10241, table 2): (p-1) (F+B-W);
* ZB-H2 (same): (p-1) (F+B-2W), never below 0;
* DualPipe (DeepSeek-V3 report 2024, arXiv 2412.19437, table 2): (p/2-1) (F&B + B' - 3W), with F&B
  an overlapped forward and backward and B' = B + W a whole backward.

With unequal stages the slowest sets the pace and the others are met once on the way in and out:
(m-1) max + sum, in place of m t + (p-1) t.
"""

from __future__ import annotations

import numpy as np

from opencolossus.step.columns import Array, ceil_div
from opencolossus.step.layouts import DUALPIPE, ZB_H1, ZB_H2, Layouts


def slots(layers: Array, layouts: Layouts) -> Array:
    """Layers of the fullest stage when chunks are as even as they can be."""
    chunks = layouts.pipeline * layouts.virtual
    return ceil_div(layers, chunks) * layouts.virtual


def stage_layers(layers: Array, layouts: Layouts) -> tuple[Array, Array]:
    """Layers of the stages at both ends, and of the fullest stage between them.

    Where the layers do not fill all chunks, the ends go short of them, by one for each chunk at
    most, as Megatron-LM places them and Llama 3 did (Llama team 2024, section 3.3.2).
    """
    full = slots(layers, layouts)
    missing = full * layouts.pipeline - layers
    less = np.minimum(np.maximum(np.floor(missing / 2), 1.0), layouts.virtual) * (missing > 0)
    ends = np.where(layouts.pipeline > 1, np.maximum(full - less, 0.0), layers)
    return ends, np.minimum(full, layers)


def stage_times(layers: Array, layouts: Layouts, layer: Array, head: Array) -> tuple[Array, Array]:
    """Seconds per micro-batch of the slowest stage and of the mean stage.

    The head stands on the last stage, which has fewer layers where they do not fill all chunks.
    """
    last, full = stage_layers(layers, layouts)
    middle = np.where(layouts.pipeline > 1, full * layer, 0.0)
    slowest = np.maximum(middle, last * layer + head)
    return slowest, (layers * layer + head) / layouts.pipeline


def bubble(layouts: Layouts, slowest: Array, mean: Array, forward: Array, weight: Array) -> Array:
    """Seconds per step in which the slowest stage waits for others to start or end.

    Args:
        slowest, mean: seconds of a stage's whole work on one micro-batch.
        forward, weight: share of that work in forward, and in gradients of weights.
    """
    others = layouts.pipeline * mean - slowest
    schedule = layouts.schedule
    zb1 = 1 - 2 * weight
    zb2 = np.maximum(1 - 3 * weight, 0.0)
    pair = (layouts.pipeline / 2 - 1) / np.maximum(layouts.pipeline - 1, 1.0)
    dual = np.maximum(pair * (2 - forward - 3 * weight), 0.0)
    share = np.where(schedule == ZB_H1, zb1, 1 / layouts.virtual)
    share = np.where(schedule == ZB_H2, zb2, share)
    share = np.where(schedule == DUALPIPE, dual, share)
    return np.maximum(others, 0.0) * share


def group(layouts: Layouts) -> Array:
    """Micro-batches that an interleaved schedule sends through one chunk before the next: equal
    groups of at least p."""
    count = layouts.micro_batches
    rounds = np.maximum(np.floor(count / layouts.pipeline), 1.0)
    return np.maximum(np.ceil(count / rounds), layouts.pipeline)


def in_flight(layouts: Layouts) -> Array:
    """Micro-batches whose activations the first stage holds at once (in whole stages).

    1F1B: p; interleaved in groups of g micro-batches (Megatron-Core's warm-up): 2 (p-1) + (v-1) g
    + 1 chunks, which is p (1 + (p-1)/(p v)) for g = p (Korthikanti et al. 2022, section 4.2.3);
    ZB-H1 as 1F1B; ZB-H2: 2p - 1; DualPipe: p + 1. Never more than there are.
    """
    p, v = layouts.pipeline, layouts.virtual
    held = np.where(v > 1, (2 * (p - 1) + (v - 1) * group(layouts) + 1) / v, p)
    held = np.where(layouts.schedule == ZB_H2, 2 * p - 1, held)
    held = np.where(layouts.schedule == DUALPIPE, p + 1, held)
    return np.minimum(held, layouts.micro_batches)


def in_flight_second(layouts: Layouts) -> Array:
    """The same for the second stage, which is two chunks (or one micro-batch) behind the first."""
    p, v = layouts.pipeline, layouts.virtual
    held = np.where(v > 1, (2 * (p - 2) + (v - 1) * group(layouts) + 1) / v, p - 1)
    held = np.where(layouts.schedule == ZB_H2, 2 * p - 3, held)
    held = np.where(layouts.schedule == DUALPIPE, p + 1, held)
    return np.clip(held, 0.0, layouts.micro_batches)


def in_flight_last(layouts: Layouts) -> Array:
    """The same for the last stage: one with 1F1B, (g (v-1) + 1) / v when interleaved."""
    p, v = layouts.pipeline, layouts.virtual
    held = np.where(v > 1, (group(layouts) * (v - 1) + 1) / v, 1.0)
    held = np.where(layouts.schedule == ZB_H2, p, held)
    held = np.where(layouts.schedule == DUALPIPE, p + 1, held)
    return np.minimum(held, layouts.micro_batches)
