"""Time on one GPU: matrix products, attention, memory-bound work.

A matrix product [m, k] x [k, n] is cut into tiles of 128 x 128 that run in waves over the
multiprocessors. The last wave is half full on average, and each tile pays a fixed time to fill
and drain its pipeline (NVIDIA, "Matrix Multiplication Background User's Guide", 2023, sections
on tile and wave quantisation). What remains is a share of the peak, ``Machine.matrix``, set by
the chip's power limit; a roofline (Williams et al. 2009) bounds it from memory.

Fused attention has rates of its own, as shares of the peak on long causal sequences
(``Machine.flash1`` to ``flash3``), which fall with S / (S + start) on short ones:

* A100: FlashAttention 25-40 %, its second version 50-73 % (Dao 2023, arXiv 2307.08691, abstract);
* H100 at 1,830 MHz, causal, heads of 128: the second version 191, 298 and 335 TFLOP/s at 512,
  2,048 and 16,384 keys, cuDNN 315, 484 and 539 (Shah et al. 2024, arXiv 2407.08608, figure 5d);
  in training it keeps 1,575 MHz (github.com/deepseek-ai/DeepGEMM/issues/120), 0.86 of that;
* B200: FlashAttention 4 runs at 697, 1,090 and 1,418 TFLOP/s at 1,024, 4,096 and 8,192 keys, up to
  1.3 times the rate of cuDNN 9.13 (github.com/Dao-AILab/flash-attention/pull/2605 and 2280;
  together.ai/blog/flashattention-4), the second version at 380 (same repository, issue 1589);
* B300 has twice the exponentials that hold B200 up: 1.3 times its rate is assumed.

Heads below 128 run slower, since a score costs the same exponential for fewer FLOP: with heads of
64 the second version reaches 324 for 370 TFLOP/s at 16,384 keys and cuDNN 413 for 595 on H100 (Shah
et al. 2024, figures 5a and 5c), cuDNN 980 for 1,428 on B200 at 1,024 (pull/2605). Larger heads gain
nothing (figure 5e).
"""

from __future__ import annotations

import numpy as np

from opencolossus.step.columns import Array, ceil_div
from opencolossus.step.machine import Code, Machine

TILE = 128.0
HALF_WAVE = 0.5
MISALIGNED = 0.82
"""Speed of products whose sizes are no multiple of 64 elements: 91 against 112-120 TFLOP/s when
a hidden size of 14,400 instead of 14,336 is split in 8 (BigScience chronicles, February 2022)."""
ODD_HEAD = 0.35
"""Speed of attention whose head size is no multiple of 8, so that tensor cores are not used:
162.7 against 129 s per step with heads of 108 instead of 104 (same chronicles)."""
FULL_HEAD = 128.0
EXPONENTIAL_2, EXPONENTIAL_3 = 21.0, 96.0
"""Head size whose products take as long as the exponentials of the scores, by generation of the
kernel: rates go with d / (d + this) up to heads of 128."""
BACKWARD_ATTENTION = 0.85
"""Speed of flash attention backward relative to forward, at 2.5 times its FLOPs (Dao 2023)."""


def matmul_time(machine: Machine, m: Array, k: Array, n: Array, count: Array, low: Array) -> Array:
    """Seconds of ``count`` products [m, k] x [k, n]; ``low`` 1 runs at ``machine.peak``."""
    m, k, n = np.maximum(m, 0.0), np.maximum(k, 0.0), np.maximum(n, 0.0)
    tiles = np.maximum(count * ceil_div(m, TILE) * ceil_div(n, TILE), 1e-9)
    waves = tiles / machine.units
    peak = np.where(low > 0, machine.peak * machine.matrix, machine.peak16 * machine.matrix16)
    fill = machine.fill * np.where(low > 0, machine.peak / machine.peak16, 1.0)
    aligned = np.where((np.mod(k, 64) > 0) | (np.mod(n, 64) > 0), MISALIGNED, 1.0)
    rate = peak * machine.clock * aligned * waves / (waves + HALF_WAVE)
    padded = ceil_div(m, TILE / 8) * (TILE / 8)  # rows are padded less than a tile
    busy = 2 * count * padded * (k + fill) * n / rate
    size = np.where(low > 0, 1.0, 2.0)
    traffic = count * (size * (m * k + k * n) + 2 * m * n)
    return np.where(m * k * n > 0, np.maximum(busy, streaming_time(machine, traffic)), 0.0)


def streaming_time(machine: Machine, size: Array) -> Array:
    """Seconds to move ``size`` B through the memory of one GPU."""
    return size / (machine.memory_bandwidth * machine.reach * machine.memory_clock)


def product_times(
    machine: Machine, m: Array, k: Array, n: Array, count: Array, low: Array
) -> tuple[Array, Array, Array]:
    """Seconds of a linear layer: forward, gradient of its input, gradient of its weight."""
    forward = matmul_time(machine, m, k, n, count, low)
    data = matmul_time(machine, m, n, k, count, low)
    weight = matmul_time(machine, k, m, n, count, low)
    return forward, data, weight


def attention_times(
    machine: Machine, code: Code, tokens: Array, sequence: Array, heads: Array, sizes: Array
) -> tuple[Array, Array]:
    """Seconds of the attention core, forward and backward, on one GPU.

    Args:
        tokens: query tokens on this GPU.
        heads: heads on this GPU.
        sizes: key size plus value size of one head.

    With a flash kernel (Dao et al. 2022) work is causal, (sequence + 1) / 2 keys per query, and
    the backward pass has five products for the forward's two. Without, two batched products over
    the whole square (or by blocks of queries, up to the last key of each) are written and read
    again by softmax, mask and dropout, so many bytes per score as the software moves. Scores that
    are not kept are formed again for the backward pass, a fifth product.
    """
    flops = 2 * tokens * heads * sizes * (sequence + 1) / 2
    odd = np.where(np.mod(sizes, 16) > 0, ODD_HEAD, 1.0)
    share = np.where(code.kernel >= 3, machine.flash3, machine.flash2)
    share = np.where(code.kernel <= 1, machine.flash1, share)
    rate = machine.peak16 * share * machine.clock * code.attention * odd * _head_reach(code, sizes)
    rate = rate * sequence / (sequence + machine.attention_start + code.query_start)
    flash_forward = flops / rate
    flash_backward = 2.5 * flops / (rate * BACKWARD_ATTENTION)
    met = np.where(code.query_block > 0, (1 + code.query_block / sequence) / 2, 1.0)
    met = np.minimum(met, 1.0)
    scores = tokens * heads * sequence * met
    filled = sizes / (sizes + 4 * machine.fill)
    plain = machine.peak16 * machine.matrix16 * machine.clock * odd * filled
    again = 0.5 * (code.score_kept <= 0)
    plain_forward = 2 * met * flops / plain + streaming_time(machine, code.score_forward * scores)
    plain_backward = (4 + 2 * again) * met * flops / plain + streaming_time(
        machine, code.score_backward * scores
    )
    fused = code.flash > 0
    return (
        np.where(fused, flash_forward, plain_forward),
        np.where(fused, flash_backward, plain_backward),
    )


def _head_reach(code: Code, sizes: Array) -> Array:
    """Rate of fused attention over that with heads of 128; ``sizes`` as in ``attention_times``."""
    head = np.minimum(sizes / 2, FULL_HEAD)
    beside = np.select([code.kernel >= 3, code.kernel >= 2], [EXPONENTIAL_3, EXPONENTIAL_2], 0.0)
    return np.asarray(head / (head + beside) * (FULL_HEAD + beside) / FULL_HEAD)
