"""Fused attention against the published rates of its kernels."""

from __future__ import annotations

import numpy as np
import pytest

from opencolossus.plan import machines
from opencolossus.specs import calibration, catalog
from opencolossus.step.compute import attention_times

THROTTLED = 1575 / 1830
"""The clock that an H100 keeps while it trains over the one that its kernels were timed at."""
TIMED = {2: {512: 191, 1024: 260, 2048: 298, 4096: 319, 8192: 333, 16384: 335}}
TIMED[3] = {512: 315, 1024: 410, 2048: 484, 4096: 518, 8192: 529, 16384: 539}
"""TFLOP/s forward, causal, heads of 128, on H100 (Shah et al. 2024, figure 5d): FlashAttention 2
and cuDNN."""


def rates(node: str, kernel: int, sequence: int) -> tuple[float, float]:
    """FLOP/s forward and backward of 16 heads of 128 on 16,384 tokens."""
    constants = calibration.shipped()
    software = catalog.entry("software", "nemo-2025").model_copy(
        update={"attention_kernel": kernel}
    )
    machine = machines.machine(
        catalog.entry("nodes", node), catalog.entry("fabrics", "quantum-2-ndr"), "bf16", constants
    )
    code = machines.code(software, constants, "bf16")
    tokens, length, heads, sizes = (np.asarray(float(v)) for v in (16384, sequence, 16, 256))
    forward, backward = attention_times(machine, code, tokens, length, heads, sizes)
    flops = 16384 * 16 * 256 * sequence
    return flops / float(forward), 2.5 * flops / float(backward)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("sequence", [512, 1024, 2048, 4096, 8192, 16384])
def test_rates_on_hopper_are_the_published_ones(kernel: int, sequence: int) -> None:
    forward, backward = rates("hgx-h100", kernel, sequence)
    assert forward == pytest.approx(THROTTLED * TIMED[kernel][sequence] * 1e12, rel=0.07)
    assert 0.75 * forward < backward < forward


def test_rates_on_ampere_lie_where_their_author_puts_them() -> None:
    """FlashAttention at 25-40 % of the peak, its second version at 50-73 % (Dao 2023, abstract)."""
    for kernel, low, high in ((1, 0.25, 0.40), (2, 0.50, 0.73)):
        for rate in rates("hgx-a100-80", kernel, 8192):
            assert low * 312e12 < rate < high * 312e12
