"""One training step, priced for arrays of layouts: the law that everything else asks.

``price`` takes the model, the machine and the software as records of numbers or arrays, and
layouts as arrays. All broadcast: a million layouts of one model in one call, or one layout each
of five hundred published measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

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
        memory.memory(shape, machine, code, layouts),
    )


def layer_costs(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> Layer:
    """What a layer costs under every layout.

    It depends on how a layer is cut (tensor, context, expert, micro-batch, recompute) and not on
    the pipeline or the number of replicas, so among many layouts of one model each cut is priced
    once.
    """
    one_model = shape.scalar and machine.scalar and code.scalar
    cut = (layouts.tensor, layouts.context, layouts.expert, layouts.micro_batch)
    if not one_model or all(column.ndim == 0 for column in cut):
        return layer(shape, machine, code, layouts)
    key = (layouts.recompute + 4 * (layouts.expert_tensor > 1)).astype(np.int64)
    for column in cut:
        key = key * 8192 + column.astype(np.int64)  # 4 x 13 bits and 3: below 63
    _, first, where = np.unique(key, return_index=True, return_inverse=True)
    return layer(shape, machine, code, layouts.take(first)).take(where)


def cost(shape: Shape, machine: Machine, code: Code, layouts: Layouts, one: Layer) -> Cost:
    """Assemble a step from what its layers cost."""
    count = layouts.micro_batches
    slowest, mean = pipeline.stage_times(shape.layers, layouts, one.total, one.head)
    compute = count * slowest
    # what the slowest stage does, split in the proportions of a layer; the rest is the head
    layers = np.minimum(pipeline.slots(shape.layers, layouts), shape.layers)
    per = count * layers
    inside = np.minimum(per * one.total, compute)
    scale = inside / np.maximum(per * one.total, 1e-30)
    sends = _sends(shape, machine, code, layouts)
    weight = one.backward_weight / np.maximum(one.total, 1e-30)
    forward = one.forward / np.maximum(one.total, 1e-30)
    idle = pipeline.bubble(layouts, slowest, mean, forward, weight)
    exposed = data_parallel.exposed(shape, machine, code, layouts, one)
    optimiser = optimiser_time(shape, machine, code, layouts)
    parts = Cost(
        compute=per * scale * (one.compute - one.recompute) + (compute - inside),
        recompute=per * scale * one.recompute,
        gaps=per * scale * one.gap + code.step_gap * (1 - code.captured),
        tensor=per * scale * (one.tensor + one.recompute_communication),
        context=per * scale * one.context,
        expert=per * scale * one.expert,
        sends=sends,
        bubble=idle,
        data=exposed,
        optimiser=optimiser,
        stragglers=np.asarray(0.0),
        memory_bound=per * scale * one.memory_bound,
    )
    waits = code.jitter * np.sqrt(2 * np.log(np.maximum(layouts.gpus, 1.0)))
    return replace(parts, stragglers=waits * (compute + idle))


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
