"""Bytes on the fullest GPU, by kind.

Model states: 2 B weights, 2 or 4 B gradients, 12 B of fp32 weights and Adam moments (in 32 bits: 4,
4 and 8 B), sharded as ZeRO does (Rajbhandari et al. 2020, arXiv 1910.02054, section 5).
Activations per layer and micro-batch after Korthikanti et al. 2022 (arXiv 2205.05198, section 4),
which this module repeats for gated networks, grouped heads, latent attention and experts. Where
linear layers run in FP8 their inputs are kept in 8 bits; what attention and activation functions
keep of their own stays in 16, so that the output of attention is kept twice (NVIDIA, "Optimizing
DeepSeek-V3 training performance on GB200 NVL72", 2025, section 2.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.step import shape as shapes
from opencolossus.step.columns import Array, Columns
from opencolossus.step.layouts import DUALPIPE, FULL, SELECTIVE, Layouts
from opencolossus.step.machine import Code
from opencolossus.step.pipeline import (
    in_flight,
    in_flight_last,
    in_flight_second,
    slots,
    stage_layers,
)
from opencolossus.step.shape import Shape


@dataclass(frozen=True)
class Memory(Columns):
    """Bytes on the fullest GPU."""

    weights: Array
    gradients: Array
    optimiser: Array
    activations: Array
    temporary: Array
    """What lives for a while only: gathered weights and inputs, the copy of a checkpoint."""
    framework: Array

    @property
    def total(self) -> Array:
        """All kinds together."""
        states = self.weights + self.gradients + self.optimiser
        return states + self.activations + self.temporary + self.framework


def local_weights(s: Shape, layouts: Layouts) -> tuple[Array, Array]:
    """Dense and routed weights of the fullest stage on one GPU, before any ZeRO sharding."""
    tables = np.where(layouts.pipeline > 1, s.vocabulary * s.width, shapes.table_weights(s))
    ways = layouts.expert * layouts.expert_tensor
    routed = shapes.routed_weights(s) * _stage_share(s, layouts) / ways
    return block_weights(s, layouts) + tables / layouts.tensor, routed


def block_weights(s: Shape, layouts: Layouts) -> Array:
    """The dense ones of these inside blocks: embedding and head left out."""
    return shapes.layer_weights(s) * _stage_share(s, layouts) / layouts.tensor


def layer_weights(s: Shape, layouts: Layouts) -> tuple[Array, Array]:
    """Dense and routed weights of one layer on one GPU."""
    ways = layouts.expert * layouts.expert_tensor
    dense = shapes.layer_weights(s) / (s.layers * layouts.tensor)
    return dense, shapes.routed_weights(s) / (s.layers * ways)


def _stage_share(s: Shape, layouts: Layouts) -> Array:
    """Share of all layers that the fullest stage has."""
    return np.minimum(slots(s.layers, layouts) / s.layers, 1.0)


class _States:
    """Weights of the fullest stage on one GPU, whole and shared out among the replicas."""

    def __init__(self, s: Shape, layouts: Layouts) -> None:
        dense, routed = local_weights(s, layouts)
        self.whole = dense + routed
        self.shared = dense / layouts.sharers + routed / layouts.expert_sharers

    def sharded(self, sharded: NDArray[np.bool_]) -> Array:
        """Weights held where ``sharded`` says whether they are shared out."""
        return np.where(sharded, self.shared, self.whole)


def memory(shape: Shape, code: Code, layouts: Layouts) -> Memory:
    """Bytes by kind for every layout; the fuller of first and last stage counts."""
    states = _States(shape, layouts)
    tokens = layouts.micro_batch * shape.sequence / layouts.context
    copies = np.where(layouts.schedule == DUALPIPE, 2.0, 1.0)
    whole, kept = _activations(shape, code, layouts, tokens)
    logits = tokens * shape.vocabulary / layouts.tensor
    logits = 3 * code.width * np.minimum(logits, np.where(code.logits > 0, code.logits, np.inf))
    ends, inner = stage_layers(shape.layers, layouts)
    first = np.maximum(in_flight(layouts) * ends, in_flight_second(layouts) * inner) * kept
    last = in_flight_last(layouts) * ends * kept + logits
    alone = layouts.pipeline <= 1
    held = np.where(alone, first + logits, np.maximum(first, last))
    # what an interleaved schedule adds up of one chunk before ZeRO-2 shares it out
    chunk = (layouts.zero == 2) & (layouts.virtual > 1)
    partial = np.where(chunk, states.whole / layouts.virtual, 0.0)
    trained = np.maximum(shape.trained, 0.01)
    dense, routed = layer_weights(shape, layouts)
    gathered = np.where(layouts.zero >= 3, 4 * (dense + routed), 0.0)
    working = np.where(layouts.recompute == FULL, whole, 0.0)
    temporary = gathered + working + 4 * tokens * shape.width
    rows = tokens * layouts.expert_tensor / layouts.tensor * shape.experts_per_token
    temporary = temporary + code.per_row * np.where(shape.expert_layers > 0, rows, 0.0)
    optimiser = _optimiser(shape, code, layouts, states)
    if code.staged.any():
        rounded = np.where(code.width > 2, 4.0, 0.0) * states.sharded(layouts.zero >= 1)
        temporary = temporary + code.staged * trained * (optimiser + rounded)
    return Memory(
        weights=np.where(shape.trained < 1, code.frozen, code.width)
        * copies
        * states.sharded(layouts.zero >= 3),
        gradients=trained * code.gradient * (copies * states.sharded(layouts.zero >= 2) + partial),
        optimiser=trained * optimiser,
        activations=held,
        temporary=temporary,
        framework=code.framework,
    )


def _optimiser(s: Shape, code: Code, layouts: Layouts, states: _States) -> Array:
    """fp32 weights beside 16-bit ones, and two moments; of what Muon moves, momentum alone."""
    each, sharded = np.where(code.width > 2, 8.0, 12.0), layouts.zero >= 1
    if not code.muon.any():
        return each * states.sharded(sharded)
    dense, _ = local_weights(s, layouts)
    tables = (dense - block_weights(s, layouts)) / np.where(sharded, layouts.sharers, 1.0)
    saved = 4 * code.muon
    return (each - saved) * states.sharded(sharded) + saved * tables


def _activations(s: Shape, code: Code, layouts: Layouts, tokens: Array) -> tuple[Array, Array]:
    """Bytes that a layer needs for its backward pass: all of them, and what is kept till then."""
    tp = layouts.tensor
    split = np.where(code.sequence_parallel > 0, tp, 1.0)
    low = code.low
    stream = tokens * s.width * (8 - 2 * low + 2 * s.dropout + 2 * (s.norms - 2)) / split
    latent = np.where(s.kv_rank > 0, s.heads, s.kv_heads)
    heads = s.heads * s.key_size + latent * (s.key_size + s.value_size)
    attention = tokens * (2 * heads + (2 + low) * s.heads * s.value_size) / tp
    attention = attention + 2 * tokens * (s.query_rank + s.kv_rank)
    core = np.where(code.flash > 0, 0.0, code.score_kept * tokens * s.heads / tp * s.sequence)
    part = s.expert_layers / s.layers
    inner = (1 - part) * s.feed_forward + part * s.beside_experts
    dense = 2 * tokens * inner * (s.matrices - low / 2 + code.inner_kept) / tp
    routed = tokens * layouts.expert_tensor / tp * s.experts_per_token * code.imbalance
    per_row = (4 - low) * s.width
    per_row = per_row + (2 * s.matrices - low) * s.expert_feed_forward / layouts.expert_tensor
    whole = stream + attention + dense + part * routed * per_row
    frozen = np.where(s.trained < 1, 0.5, 1.0)  # inputs of frozen layers are not kept
    whole = whole * frozen * code.width / 2
    whole = whole + code.norm_kept * s.norms * tokens * s.width / split
    entry = code.width * tokens * s.width / split
    kept = np.where(layouts.recompute == SELECTIVE, whole * code.selective_keeps, whole + core)
    kept = np.where(layouts.recompute == FULL, entry, kept)
    share = layouts.recompute_share
    if (share < 1).any():
        kept = share * kept + (1 - share) * (whole + core)
    return whole + core, (1 - layouts.offloaded) * kept
