"""One training step, priced for arrays of layouts: the law that everything else asks.

``price`` takes the model, the machine and the software as records of numbers or arrays, and
layouts as arrays. All broadcast: a million layouts of one model in one call, or one layout each
of five hundred published measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.step import data_parallel, memory, pipeline
from opencolossus.step.collectives import send_time
from opencolossus.step.columns import Array, Columns
from opencolossus.step.layer import Layer, layer
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.memory import Memory
from opencolossus.step.optimiser import optimiser_time
from opencolossus.step.shape import Shape


@dataclass(frozen=True)
class Cost(Columns):
    """Where the seconds of a step go; the parts add up to ``time``."""

    compute: Array
    """Matrix products and memory-bound work of the slowest stage."""
    recompute: Array
    gaps: Array
    """Waiting for kernels to start, and per-step work of the host."""
    tensor: Array
    """Exposed communication of tensor parallelism."""
    context: Array
    expert: Array
    sends: Array
    """Exposed messages between pipeline stages."""
    bubble: Array
    data: Array
    """Exposed gradient reduction and weight gathering."""
    optimiser: Array
    stragglers: Array
    memory_bound: Array
    """Part of ``compute`` and ``recompute`` that moves memory; not a part of its own."""

    @property
    def time(self) -> Array:
        """Seconds of one step."""
        work = self.compute + self.recompute + self.gaps + self.bubble + self.optimiser
        return work + self.communication + self.stragglers

    @property
    def communication(self) -> Array:
        """All exposed communication."""
        return self.tensor + self.context + self.expert + self.sends + self.data


def price(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> tuple[Cost, Memory]:
    """Seconds and bytes of one step for every layout."""
    return (
        cost(shape, machine, code, layouts, layer_costs(shape, machine, code, layouts)),
        memory.memory(shape, code, layouts),
    )


def layer_costs(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> Layer:
    """What a layer costs under every layout."""
    one_model = shape.scalar and machine.scalar and code.scalar
    if not one_model or all(column.ndim == 0 for column in _cut(layouts)):
        return layer(shape, machine, code, layouts)
    layers, where = distinct_layers(shape, machine, code, layouts)
    return layers.take(where)


def distinct_layers(
    shape: Shape, machine: Machine, code: Code, layouts: Layouts
) -> tuple[Layer, NDArray[np.intp]]:
    """What a layer of one model costs on one machine, and which of the entries each layout has.

    It depends on how a layer is cut (tensor, context, expert, micro-batch, recompute) and not on
    the pipeline or the number of replicas, so each cut is priced once.
    """
    key = (layouts.recompute + 4 * (layouts.expert_tensor > 1)).astype(np.int64)
    for column in _cut(layouts):
        key = key * 8192 + column.astype(np.int64)  # 4 x 13 bits and 3: below 63
    _, first, where = np.unique(key, return_index=True, return_inverse=True)
    return layer(shape, machine, code, layouts.take(first)), where


def _cut(layouts: Layouts) -> tuple[Array, ...]:
    return layouts.tensor, layouts.context, layouts.expert, layouts.micro_batch


def cost(shape: Shape, machine: Machine, code: Code, layouts: Layouts, one: Layer) -> Cost:
    """Assemble a step from what its layers cost."""
    count, total = layouts.micro_batches, one.total
    slowest, mean = pipeline.stage_times(shape.layers, layouts, total, one.head)
    compute = count * slowest
    # what the slowest stage does, split in the proportions of a layer; the rest is the head
    per = count * np.minimum(pipeline.slots(shape.layers, layouts), shape.layers)
    whole = per * total
    inside = np.minimum(whole, compute)
    per = per * (inside / np.maximum(whole, 1e-30))
    weight = one.backward_weight / np.maximum(total, 1e-30)
    forward = one.forward / np.maximum(total, 1e-30)
    idle = pipeline.bubble(layouts, slowest, mean, forward, weight)
    waits = code.jitter * np.sqrt(2 * np.log(np.maximum(layouts.gpus, 1.0)))
    return Cost(
        compute=per * (one.compute - one.recompute) + (compute - inside),
        recompute=per * one.recompute,
        gaps=per * one.gap + code.step_gap * (1 - code.captured),
        tensor=per * (one.tensor + one.recompute_communication),
        context=per * one.context,
        expert=per * one.expert,
        sends=_sends(shape, machine, code, layouts),
        bubble=idle,
        data=data_parallel.exposed(shape, machine, code, layouts, one),
        optimiser=optimiser_time(shape, machine, code, layouts),
        stragglers=waits * (compute + idle),
        memory_bound=per * one.memory_bound,
    )


def _sends(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> Array:
    """Exposed seconds of messages between stages.

    On the way in and out every boundary is met once and nothing hides it; in between, each
    micro-batch and chunk sends once forward and once back, beside compute where the software
    overlaps it.
    """
    split = layouts.tensor  # scatter-gather (Narayanan et al. 2021, section 4.1)
    message = 2 * layouts.micro_batch * shape.sequence / layouts.context * shape.width / split
    stride = layouts.tensor * layouts.context * layouts.data
    one = send_time(machine, stride, message)
    steady = 2 * layouts.virtual * layouts.micro_batches * (1 - code.overlap_sends)
    return np.where(layouts.pipeline > 1, (2 * (layouts.pipeline - 1) + steady) * one, 0.0)
