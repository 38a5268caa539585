"""What one micro-batch computes in each part of a layer on one GPU: seconds both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencolossus.step.columns import Array
from opencolossus.step.compute import attention_times, product_times, streaming_time
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape

ONE = np.asarray(1.0)


@dataclass
class Pass:
    """Running sums of one kind of layer."""

    forward: Array
    data: Array
    weight: Array
    memory: Array

    def product(
        self,
        machine: Machine,
        code: Code,
        m: Array,
        k: Array,
        n: Array,
        count: Array,
        casts: tuple[Array, Array] = (ONE, ONE),
    ) -> None:
        """Add a linear layer, with the quantisation of its operands where it runs in FP8.

        ``casts`` are 0 where another kernel hands on what comes in, or its gradient what goes out,
        in 8 bits.
        """
        there = m * k * n > 0
        if not np.any(there):  # most models have no use for some of the products
            return
        forward, data, weight = product_times(machine, m, k, n, count, code.low)
        self.forward = self.forward + forward
        self.data = self.data + data
        self.weight = self.weight + weight
        if code.low.any():
            # read 2 B, write two copies of 1 B
            cast_in = there * code.low * count * casts[0] * streaming_time(machine, 4 * m * k)
            cast_out = there * code.low * count * casts[1] * streaming_time(machine, 4 * m * n)
            self.forward = self.forward + cast_in
            self.data = self.data + cast_out
            self.memory = self.memory + cast_in + cast_out

    def add(self, other: Pass, share: Array) -> None:
        """Add a ``share`` of another kind."""
        self.forward = self.forward + share * other.forward
        self.data = self.data + share * other.data
        self.weight = self.weight + share * other.weight
        self.memory = self.memory + share * other.memory

    def stream(self, forward: Array, backward: Array) -> None:
        """Add memory-bound work, in seconds."""
        self.forward = self.forward + forward
        self.data = self.data + backward
        self.memory = self.memory + forward + backward


def start() -> Pass:
    return Pass(*(np.asarray(0.0) for _ in range(4)))


def attention(
    s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array
) -> tuple[Pass, Array]:
    """One attention block with its norms and residual; and its core's forward seconds."""
    tp = layouts.tensor
    total = start()
    latent = s.kv_rank > 0
    plain = np.where(latent, 0.0, s.head_size * (s.heads + 2 * s.kv_heads) / tp)
    total.product(machine, code, tokens, s.width, plain, ONE)
    down = np.where(latent, s.query_rank + s.kv_rank + s.rope_size, 0.0)
    total.product(machine, code, tokens, s.width, down, ONE)
    total.product(machine, code, tokens, s.query_rank, latent * s.heads * s.key_size / tp, ONE)
    up = latent * s.heads * (s.head_size + s.value_size) / tp
    total.product(machine, code, tokens, s.kv_rank, up, ONE)
    total.product(machine, code, tokens, s.heads * s.value_size / tp, s.width, ONE)
    heads = s.heads / tp
    keys = np.where(code.skips_documents > 0, np.minimum(s.attended, s.sequence), s.sequence)
    forward, backward = attention_times(
        machine, code, tokens, keys, heads, s.key_size + s.value_size
    )
    total.forward = total.forward + forward
    total.data = total.data + backward
    split = np.where(code.sequence_parallel > 0, tp, 1.0)
    norms = tokens * s.width * (2 * s.norms / 2 + 3 + 1.5 * s.dropout) / split
    turned = tokens * s.rope * 2 * s.head_size * (s.heads + s.kv_heads) / tp
    elements = np.stack(np.broadcast_arrays(norms, turned)).sum(axis=0)
    seconds = streaming_time(machine, code.elementwise * code.stream * elements)
    total.stream(seconds, 1.4 * seconds)
    into = s.width + s.head_size * s.heads / tp
    out = s.head_size * (s.heads + 2 * s.kv_heads) / tp + s.width
    _adapters(machine, s, total, tokens * (into + out))
    return total, forward


def _adapters(machine: Machine, s: Shape, total: Pass, beside: Array) -> None:
    """Add LoRA beside linear layers with ``beside`` elements in and out: what goes in is dropped
    out and read, what comes out is added."""
    seconds = streaming_time(machine, np.where(s.trained < 1, 2 * 3 * beside, 0.0))
    total.stream(seconds, seconds)


def feed_forward(
    machine: Machine, code: Code, layouts: Layouts, tokens: Array, s: Shape, inner: Array
) -> Pass:
    """A dense network of ``inner`` with its norm, activation and residual."""
    tp = layouts.tensor
    total = start()
    total.product(machine, code, tokens, s.width, inner * (s.matrices - 1) / tp, ONE)
    total.product(machine, code, tokens, inner / tp, s.width, ONE)
    split = np.where(code.sequence_parallel > 0, tp, 1.0)
    norms = tokens * s.width * (2 * s.norms / 2 + 3 + 1.5 * s.dropout) / split
    activation = tokens * inner * s.matrices / tp
    seconds = streaming_time(machine, code.elementwise * code.stream * (norms + activation))
    total.stream(seconds, 1.6 * seconds)
    _adapters(machine, s, total, s.adapted * tokens * (2 * s.width + s.matrices * inner / tp))
    return total


def experts(s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array) -> Pass:
    """Routed experts with what stands beside them, permutation included."""
    total = feed_forward(machine, code, layouts, tokens, s, s.beside_experts)
    local = np.maximum(s.experts / layouts.expert, 1e-9)
    per_rank = tokens * layouts.expert_tensor / layouts.tensor
    routed = per_rank * s.experts_per_token * code.imbalance
    rows = routed / local
    inner = s.expert_feed_forward / layouts.expert_tensor
    there = s.experts > 0
    apart = 1 - code.fused_experts  # the gate and its casts are kernels of their own
    outer = inner * (s.matrices - 1)
    total.product(machine, code, rows, s.width * there, outer, local, (ONE, apart))
    total.product(machine, code, rows, inner * there, s.width, local, (apart, ONE))
    # by rank and again by expert; one kernel that also sends them leaves the second (Megatron-Core,
    # "Optimizing DeepSeek-V3 training performance on GB200 NVL72", 2025, section 2.1.1), and where
    # all experts have as many rows it is a plain copy
    travels = (local > 1) * (layouts.expert > 1)
    again = np.where(code.drops > 0, 1.0, code.routing) * travels * (1 - code.deduplicates)
    permuted = 4 * routed * s.width * (code.routing + again)
    activation = apart * routed * inner * s.matrices * code.elementwise
    stepwise = code.gate_forward > 0
    moved = code.stream * (permuted + np.where(stepwise, 0.0, activation)) * there
    gates = routed * inner * there
    total.stream(
        streaming_time(machine, moved + code.gate_forward * gates),
        streaming_time(machine, 1.6 * moved + code.gate_backward * gates),
    )
    return total


def head(
    s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array
) -> tuple[Array, Array]:
    """Logits and loss: 16-bit products, then softmax and cross-entropy in 32 bits."""
    columns = s.vocabulary / layouts.tensor
    zero = np.asarray(0.0)
    forward, data, weight = product_times(machine, tokens, s.width, columns, ONE, zero)
    loss = streaming_time(machine, code.elementwise * tokens * columns * 10)
    return s.predictions * (forward + loss), s.predictions * (data + weight * s.trained + loss)
