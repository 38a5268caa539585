"""The optimiser's step on one GPU: AdamW, or Muon for the matrices inside blocks.

AdamW is memory-bound. Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
networks") keeps one state, the momentum, instead of two, and makes the momentum of each matrix
orthogonal by five Newton-Schulz steps X <- aX + (bA + cA^2) X with A = X X^T: for m x n, m <= n,
4 n m^2 + 2 m^3 FLOPs each (ibid., section "Runtime analysis"). An orthogonal matrix is not made of
orthogonal pieces, so that each is put together at one of the ranks that hold parts of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opencolossus.step.collectives import gather_time
from opencolossus.step.columns import Array
from opencolossus.step.compute import matmul_time, streaming_time
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.memory import block_weights, local_weights
from opencolossus.step.pipeline import slots
from opencolossus.step.shape import Shape

ADAM_BYTES = 30.0
"""Read and written per weight: fp32 weight and two moments both ways, gradient in, 16-bit out."""
MUON_BYTES = 76.0
"""The same of Muon beside its products, operation by operation of `train.muon`: momentum (12), the
look ahead (12), stacking (8), rounding (6), norm (6), decay (8), update (18), 16-bit out (6)."""
NEWTON_SCHULZ = 5
"""Steps that make a matrix orthogonal."""


def optimiser_time(s: Shape, machine: Machine, code: Code, layouts: Layouts) -> Array:
    """Seconds of the optimiser on what one GPU holds of the states."""
    dense, routed = local_weights(s, layouts)
    sharded = layouts.zero >= 1
    share = np.where(sharded, layouts.sharers, 1.0)
    routed_share = np.where(sharded, layouts.expert_sharers, 1.0)
    bytes_ = ADAM_BYTES * dense / share + ADAM_BYTES * routed / routed_share
    if not code.muon.any():
        return streaming_time(machine, bytes_ * s.trained)
    blocks = block_weights(s, layouts)
    more = (MUON_BYTES - ADAM_BYTES) * (blocks / share + routed / routed_share)
    seconds = streaming_time(machine, (bytes_ + code.muon * more) * s.trained)
    spread = layouts.tensor * share
    ways = layouts.expert * layouts.expert_tensor * routed_share
    whole = slots(s.layers, layouts) / s.layers
    work = orthogonal_time(s, machine, dense_matrices(s)) / spread
    work = work + orthogonal_time(s, machine, routed_matrices(s)) / ways
    width = 4 + code.width
    moved = gather_time(machine, spread, np.asarray(1.0), blocks * layouts.tensor * width)
    return seconds + code.muon * (np.minimum(whole, 1.0) * work + moved)


Matrices = Iterator[tuple[Array, Array, Array]]


def dense_matrices(s: Shape) -> Matrices:
    """Rows, columns and number of the matrices that Muon moves, routed experts left out."""
    plain = s.layers * (s.kv_rank <= 0)
    latent = s.layers * (s.kv_rank > 0)
    yield s.width, s.heads * s.head_size, plain
    yield s.width, s.kv_heads * s.head_size, 2 * plain
    yield s.width, s.query_rank, latent
    yield s.width, s.kv_rank + s.rope_size, latent
    yield s.query_rank, s.heads * s.key_size, latent
    yield s.kv_rank, s.heads * (s.head_size + s.value_size), latent
    yield s.heads * s.value_size, s.width, s.layers
    yield s.width, s.feed_forward, s.matrices * (s.layers - s.expert_layers)
    yield s.width, s.beside_experts, s.matrices * s.expert_layers


def routed_matrices(s: Shape) -> Matrices:
    """The same of routed experts."""
    yield s.width, s.expert_feed_forward, s.matrices * s.experts * s.expert_layers


def orthogonal_flops(s: Shape, matrices: Matrices) -> Array:
    """FLOPs that make every matrix orthogonal once."""
    total = np.asarray(0.0)
    for rows, columns, count in matrices:
        m, n = np.minimum(rows, columns), np.maximum(rows, columns)
        total = total + NEWTON_SCHULZ * count * (4 * n * m**2 + 2 * m**3)
    return total


def orthogonal_time(s: Shape, machine: Machine, matrices: Matrices) -> Array:
    """Seconds of the same on one GPU, in 16 bits."""
    total, zero = np.asarray(0.0), np.asarray(0.0)
    for rows, columns, count in matrices:
        m, n = np.minimum(rows, columns), np.maximum(rows, columns)
        each = NEWTON_SCHULZ * count
        total = total + matmul_time(machine, m, n, m, each, zero)
        total = total + matmul_time(machine, m, m, m, each, zero)
        total = total + matmul_time(machine, m, m, n, each, zero)
    return total
