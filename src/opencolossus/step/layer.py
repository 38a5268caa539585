"""What one micro-batch costs in one layer on one GPU: compute, and messages between ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencolossus.step import shape as shapes
from opencolossus.step.collectives import all_reduce_up, dispatch_time, kv_exchange
from opencolossus.step.columns import Array, Columns
from opencolossus.step.compute import attention_times, product_times, streaming_time
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


@dataclass
class _Pass:
    """Running sums of one kind of layer."""

    forward: Array
    data: Array
    weight: Array
    memory: Array

    def product(
        self, machine: Machine, code: Code, m: Array, k: Array, n: Array, count: Array
    ) -> None:
        """Add a linear layer, with the quantisation of its operands where it runs in FP8."""
        forward, data, weight = product_times(machine, m, k, n, count, code.low)
        there = (m * k * n > 0) * code.low * code.cast * count
        cast_in = there * streaming_time(machine, 4 * m * k)  # read 2 B, write two copies of 1 B
        cast_out = there * streaming_time(machine, 4 * m * n)
        self.forward = self.forward + forward + cast_in
        self.data = self.data + data + cast_out
        self.weight = self.weight + weight
        self.memory = self.memory + cast_in + cast_out

    def stream(self, forward: Array, backward: Array) -> None:
        """Add memory-bound work, in seconds."""
        self.forward = self.forward + forward
        self.data = self.data + backward
        self.memory = self.memory + forward + backward


def _start() -> _Pass:
    return _Pass(*(np.asarray(0.0) for _ in range(4)))


def layer(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> Layer:
    """Price one micro-batch in the mean layer for every layout (or every distinct shard)."""
    tokens = layouts.micro_batch * shape.sequence / layouts.context
    attention, core = _attention(shape, machine, code, layouts, tokens)
    dense = _feed_forward(machine, code, layouts, tokens, shape, shape.feed_forward)
    sparse = _experts(shape, machine, code, layouts, tokens)
    part = shape.expert_layers / shape.layers
    total = _Pass(
        *(
            getattr(attention, name)
            + (1 - part) * getattr(dense, name)
            + part * getattr(sparse, name)
            for name in ("forward", "data", "weight", "memory")
        )
    )
    head_forward, head_backward = _head(shape, machine, code, layouts, tokens)
    frozen = np.where(shape.trained < 1, shape.trained, 1.0)
    again = _recompute_share(code, layouts, core, total.forward)
    tensor, once = _tensor(shape, machine, code, layouts, tokens, part)
    expert = (1 - code.expert_overlap) * dispatch_time(shape, machine, code, layouts, tokens)
    context = kv_exchange(shape, machine, layouts, tokens, core)
    waiting = code.gap + part * code.expert_gap
    full = (layouts.recompute == FULL) * layouts.recompute_share
    return Layer(
        forward=total.forward,
        backward_data=total.data,
        backward_weight=total.weight * frozen,
        recompute=again * total.forward,
        tensor=tensor,
        context=context,
        expert=4 * part * expert,
        gap=waiting * (3 + full),
        recompute_communication=full * (once + 2 * part * expert),
        head=head_forward + head_backward,
        memory_bound=total.memory,
    )


def _attention(
    s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array
) -> tuple[_Pass, Array]:
    """One attention block with its norms and residual; and its core's forward seconds."""
    tp = layouts.tensor
    one = np.asarray(1.0)
    total = _start()
    latent = s.kv_rank > 0
    plain = np.where(latent, 0.0, s.head_size * (s.heads + 2 * s.kv_heads) / tp)
    total.product(machine, code, tokens, s.width, plain, one)
    down = np.where(latent, s.query_rank + s.kv_rank + s.rope_size, 0.0)
    total.product(machine, code, tokens, s.width, down, one)
    total.product(machine, code, tokens, s.query_rank, latent * s.heads * s.key_size / tp, one)
    up = latent * s.heads * (s.head_size + s.value_size) / tp
    total.product(machine, code, tokens, s.kv_rank, up, one)
    total.product(machine, code, tokens, s.heads * s.value_size / tp, s.width, one)
    heads = s.heads / tp
    forward, backward = attention_times(
        machine, code, tokens, s.sequence, heads, s.key_size + s.value_size
    )
    total.forward = total.forward + forward
    total.data = total.data + backward
    split = np.where(code.sequence_parallel > 0, tp, 1.0)
    norms = tokens * s.width * (2 * s.norms / 2 + 3 + 1.5 * s.dropout) / split
    turned = tokens * s.rope * 2 * s.head_size * (s.heads + s.kv_heads) / tp
    elements = code.elementwise * 2 * np.stack(np.broadcast_arrays(norms, turned)).sum(axis=0)
    seconds = streaming_time(machine, elements)
    total.stream(seconds, 1.4 * seconds)
    return total, forward


def _feed_forward(
    machine: Machine, code: Code, layouts: Layouts, tokens: Array, s: Shape, inner: Array
) -> _Pass:
    """A dense network of ``inner`` with its norm, activation and residual."""
    tp = layouts.tensor
    one = np.asarray(1.0)
    total = _start()
    total.product(machine, code, tokens, s.width, inner * (s.matrices - 1) / tp, one)
    total.product(machine, code, tokens, inner / tp, s.width, one)
    split = np.where(code.sequence_parallel > 0, tp, 1.0)
    norms = tokens * s.width * (2 * s.norms / 2 + 3 + 1.5 * s.dropout) / split
    activation = tokens * inner * s.matrices / tp
    seconds = streaming_time(machine, code.elementwise * 2 * (norms + activation))
    total.stream(seconds, 1.6 * seconds)
    return total


def _experts(s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array) -> _Pass:
    """Routed experts with what stands beside them, permutation included."""
    total = _feed_forward(machine, code, layouts, tokens, s, s.beside_experts)
    local = np.maximum(s.experts / layouts.expert, 1e-9)
    per_rank = tokens * layouts.expert_tensor / layouts.tensor
    routed = per_rank * s.experts_per_token * code.imbalance
    rows = routed / local
    inner = s.expert_feed_forward / layouts.expert_tensor
    there = s.experts > 0
    total.product(machine, code, rows, s.width * there, inner * (s.matrices - 1), local)
    total.product(machine, code, rows, inner * there, s.width, local)
    permuted = 4 * routed * s.width * code.routing
    activation = routed * inner * s.matrices * code.elementwise
    seconds = streaming_time(machine, 2 * (permuted + activation) * there)
    total.stream(seconds, 1.6 * seconds)
    return total


def _head(
    s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array
) -> tuple[Array, Array]:
    """Logits and loss: 16-bit products, then softmax and cross-entropy in 32 bits."""
    columns = s.vocabulary / layouts.tensor
    zero, one = np.asarray(0.0), np.asarray(1.0)
    forward, data, weight = product_times(machine, tokens, s.width, columns, one, zero)
    loss = streaming_time(machine, code.elementwise * tokens * columns * 10)
    return forward + loss, data + weight * s.trained + loss


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
    one = all_reduce_up(machine, layouts.tensor, message) * (1 - code.tensor_overlap)
    whole = (layouts.expert_tensor > 1) | (s.beside_experts > 0)
    reductions = 1 + (1 - part) + part * whole
    return 2 * reductions * one, reductions * one


__all__ = ["Layer", "layer", "shapes"]
