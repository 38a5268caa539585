"""Fused attention against the published rates of its kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opencolossus.plan import machines
from opencolossus.specs import calibration, catalog
from opencolossus.step import operators
from opencolossus.step.compute import attention_times
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape
from tests.step.conftest import layouts

THROTTLED = 1575 / 1830
"""The clock that an H100 keeps while it trains over the one that its kernels were timed at."""
TIMED = {2: {512: 191, 1024: 260, 2048: 298, 4096: 319, 8192: 333, 16384: 335}}
TIMED[3] = {512: 315, 1024: 410, 2048: 484, 4096: 518, 8192: 529, 16384: 539}
"""TFLOP/s forward, causal, heads of 128, on H100 (Shah et al. 2024, figure 5d): FlashAttention 2
and cuDNN."""


def rates(node: str, kernel: int, sequence: int, head: int = 128) -> tuple[float, float]:
    """FLOP/s forward and backward of heads of 2,048 numbers together on 16,384 tokens."""
    constants = calibration.shipped()
    software = catalog.entry("software", "nemo-2025").model_copy(
        update={"attention_kernel": kernel}
    )
    machine = machines.machine(
        catalog.entry("nodes", node), catalog.entry("fabrics", "quantum-2-ndr"), "bf16", constants
    )
    code = machines.code(software, constants, "bf16")
    values = (16384, sequence, 2048 / head, 2 * head)
    tokens, length, heads, sizes = (np.asarray(float(v)) for v in values)
    forward, backward = attention_times(machine, code, tokens, length, heads, sizes)
    flops = 16384 * 16 * 256 * sequence
    return flops / float(forward), 2.5 * flops / float(backward)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("sequence", [512, 1024, 2048, 4096, 8192, 16384])
def test_rates_on_hopper_are_the_published_ones(kernel: int, sequence: int) -> None:
    forward, backward = rates("hgx-h100", kernel, sequence)
    assert forward == pytest.approx(THROTTLED * TIMED[kernel][sequence] * 1e12, rel=0.07)
    assert 0.75 * forward < backward < forward


@pytest.mark.parametrize(
    ("node", "kernel", "sequence", "published"),
    [
        ("hgx-h100", 2, 16384, 324 / 370),
        ("hgx-h100", 3, 16384, 413 / 595),
        ("hgx-b200", 3, 1024, 980 / 1428),
    ],
)
def test_heads_of_64_run_slower_by_what_was_measured(
    node: str, kernel: int, sequence: int, published: float
) -> None:
    """Shah et al. 2024, figures 5a and 5c; Dao-AILab/flash-attention pull 2605, cuDNN."""
    for small, large in zip(
        rates(node, kernel, sequence, 64), rates(node, kernel, sequence, 128), strict=True
    ):
        assert small / large == pytest.approx(published, rel=0.03)


def test_larger_heads_gain_nothing() -> None:
    assert rates("hgx-h100", 3, 8192, 256) == pytest.approx(rates("hgx-h100", 3, 8192, 128))


def test_rates_on_ampere_lie_where_their_author_puts_them() -> None:
    """FlashAttention at 25-40 % of the peak, its second version at 50-73 % (Dao 2023, abstract)."""
    for kernel, low, high in ((1, 0.25, 0.40), (2, 0.50, 0.73)):
        for rate in rates("hgx-a100-80", kernel, 8192):
            assert low * 312e12 < rate < high * 312e12


def test_attention_of_packed_rows_stays_inside_documents(
    llama: Shape, h100: Machine, nemo: Code
) -> None:
    """Rows of 8,192 tokens that hold documents of 1,024 cost what rows of 1,024 do, or all scores
    where the software forms what it then hides."""
    model, one, tokens = catalog.entry("models", "llama3-70b"), layouts(), np.asarray(8192.0)

    def core(shape: Shape, code: Code) -> float:
        return float(np.ravel(operators.attention(shape, h100, code, one, tokens)[1])[0])

    packed = Shape.of(model, 8192, 1024.0)
    hides = replace(nemo, skips_documents=np.asarray(0.0))
    assert core(packed, nemo) == pytest.approx(core(Shape.of(model, 1024), nemo))
    assert core(packed, nemo) < core(packed, hides)
    assert core(packed, hides) == pytest.approx(core(llama, nemo))
    assert core(Shape.of(model, 8192, 99_999.0), nemo) == pytest.approx(core(llama, nemo))
