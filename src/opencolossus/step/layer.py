"""What one micro-batch costs in one layer on one GPU: compute, and messages between ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencolossus.step import operators
from opencolossus.step import shape as shapes
from opencolossus.step.collectives import LEFT, all_reduce_up, dispatch_time, kv_exchange
from opencolossus.step.columns import Array, Columns
from opencolossus.step.compute import streaming_time
from opencolossus.step.layouts import FULL, SELECTIVE, Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape


@dataclass(frozen=True)
class Layer(Columns):
    """Seconds per micro-batch and layer, averaged over the layers of the model."""

    forward: Array
    backward_data: Array
    backward_weight: Array
    recompute: Array
    tensor: Array
    """Exposed tensor-parallel communication, forward and backward together."""
    context: Array
    expert: Array
    gap: Array
    """Waiting for kernels to start."""
    recompute_communication: Array
    """Exposed communication that recomputing repeats."""
    head: Array
    """Of the whole head and loss (not per layer): forward and backward."""
    memory_bound: Array
    """Part of the compute that moves memory instead of multiplying."""

    @property
    def compute(self) -> Array:
        """All compute of a layer, recompute included."""
        return self.forward + self.backward_data + self.backward_weight + self.recompute

    @property
    def exposed(self) -> Array:
        """All exposed communication of a layer."""
        return self.tensor + self.context + self.expert + self.recompute_communication

    @property
    def total(self) -> Array:
        """Seconds of forward and backward of one layer."""
        return self.compute + self.exposed + self.gap


def layer(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> Layer:
    """Price one micro-batch in the mean layer for every layout (or every distinct shard)."""
    tokens = layouts.micro_batch * shape.sequence / layouts.context
    part = shape.expert_layers / shape.layers
    total, core = operators.attention(shape, machine, code, layouts, tokens)
    if (part < 1).any():
        dense = operators.feed_forward(machine, code, layouts, tokens, shape, shape.feed_forward)
        total.add(dense, 1 - part)
    if (part > 0).any():
        total.add(operators.experts(shape, machine, code, layouts, tokens), part)
    adding = _adding(shape, machine, code, layouts, part)
    head_forward, head_backward = operators.head(shape, machine, code, layouts, tokens)
    frozen = np.where(shape.trained < 1, shape.trained, 1.0)
    again = _recompute_share(code, layouts, core, total.forward)
    tensor, once = _tensor(shape, machine, code, layouts, tokens, part)
    dispatch = dispatch_time(shape, machine, code, layouts, tokens)
    beside = code.overlap_experts * (total.forward + total.data + total.weight) / 4
    expert = np.maximum(dispatch - beside, LEFT * dispatch)
    context = kv_exchange(shape, machine, code, layouts, tokens, core)
    waiting = code.gap * (1 - code.compiled) + part * code.expert_gap * (1 - code.compiled_experts)
    full = (layouts.recompute == FULL) * layouts.recompute_share
    return Layer(
        forward=total.forward,
        backward_data=total.data,
        backward_weight=total.weight * frozen + adding,
        recompute=again * total.forward,
        tensor=tensor,
        context=context,
        expert=4 * part * expert,
        gap=waiting * (3 + full),
        recompute_communication=full * (once + 2 * part * expert),
        head=head_forward + head_backward,
        memory_bound=total.memory + adding,
    )


def _adding(s: Shape, machine: Machine, code: Code, layouts: Layouts, part: Array) -> Array:
    """Seconds to add a layer's gradients of one micro-batch to those of the ones before."""
    ways = layouts.expert * layouts.expert_tensor
    dense = shapes.layer_weights(s) / (s.layers * layouts.tensor)
    weights = dense + shapes.routed_weights(s) / (s.layers * ways)
    traffic = (2 + 2 * code.gradient) * weights * s.trained
    return code.adds_apart * streaming_time(machine, traffic)


def _recompute_share(code: Code, layouts: Layouts, core: Array, forward: Array) -> Array:
    """Share of a layer's forward that runs twice."""
    selective = np.where(code.selective < 0, core / forward, code.selective)
    chosen = np.where(layouts.recompute == SELECTIVE, selective, 0.0)
    return np.where(layouts.recompute == FULL, 1.0, chosen) * layouts.recompute_share


def _tensor(
    s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array, part: Array
) -> tuple[Array, Array]:
    """Exposed tensor-parallel communication of a step's layer, and of one forward alone.

    Two all-reduces (or reduce-scatter and all-gather pairs of the same volume) per pass in a
    dense layer (Shoeybi et al. 2019, section 3); in an expert layer whose experts are not split
    over the tensor ranks, one, and one more where a dense network stands beside the experts.
    """
    message = 2 * tokens * s.width
    one = all_reduce_up(machine, layouts.tensor, message, code.sequence_parallel)
    one = one * (1 - code.tensor_overlap)
    whole = (layouts.expert_tensor > 1) | (s.beside_experts > 0)
    reductions = 1 + (1 - part) + part * whole
    return 2 * reductions * one, reductions * one


__all__ = ["Layer", "layer"]
