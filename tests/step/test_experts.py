"""Layers with experts: which kernels wait for the host, how often tokens are put in order, and what
one kernel for gate and products saves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opencolossus.step import law, operators
from opencolossus.step.layer import layer
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape
from tests.step.conftest import layouts

TOKENS = np.asarray(4096.0)


def changed(code: Code, **values: float) -> Code:
    return replace(code, **{name: np.asarray(value) for name, value in values.items()})


def moved(shape: Shape, machine: Machine, code: Code, experts_each: int) -> float:
    """Seconds of memory-bound work of routed experts, both ways."""
    one = layouts(expert=float(shape.experts) / experts_each, data=256, batch=256)
    return float(np.ravel(operators.experts(shape, machine, code, one, TOKENS).memory)[0])


def test_graphs_around_routed_experts_leave_their_launches_alone(
    deepseek: Shape, h100: Machine, nemo: Code
) -> None:
    one = layouts(data=64, batch=64, expert=64)
    part = float(deepseek.expert_layers / deepseek.layers)
    gaps = {
        (whole, routed): float(
            layer(
                deepseek, h100, changed(nemo, compiled=whole, compiled_experts=routed), one
            ).gap.ravel()[0]
        )
        for whole, routed in ((0, 0), (1, 0), (1, 1))
    }
    assert gaps[1, 1] == 0
    assert gaps[1, 0] == pytest.approx(3 * part * float(nemo.expert_gap))
    assert gaps[0, 0] == pytest.approx(gaps[1, 0] + 3 * float(nemo.gap))


def test_a_plain_dispatcher_sorts_twice_where_a_rank_holds_several_experts(
    deepseek: Shape, h100: Machine, nemo: Code
) -> None:
    plain, fused = (changed(nemo, deduplicates=d, routing=2.0, elementwise=0.0) for d in (0, 1))
    shared = moved(deepseek, h100, changed(fused, routing=0.0), 4)
    once, twice = (moved(deepseek, h100, code, 4) - shared for code in (fused, plain))
    assert twice == pytest.approx(2 * once, rel=1e-6)
    alone = moved(deepseek, h100, changed(plain, routing=0.0), 1)
    assert moved(deepseek, h100, plain, 1) - alone == pytest.approx(once, rel=1e-6)


def test_one_kernel_for_gate_and_products_saves_what_lay_between(
    deepseek: Shape, h100: Machine, nemo: Code
) -> None:
    """Per routed inner element: reads and writes of the gate and, in 8 bits, two casts of 4 B."""
    code = changed(nemo, low=1.0, routing=0.0)
    apart = moved(deepseek, h100, changed(code, fused_experts=0.0), 4)
    saved = apart - moved(deepseek, h100, changed(code, fused_experts=1.0), 4)
    elements = 4096 * 8 * 2048
    gate = 2 * 3 * float(code.elementwise) * (1 + 1.6)
    casts = 4 + 4 * 2  # in of the second product, gradient out of the first with its two halves
    bandwidth = float(h100.memory_bandwidth * h100.reach)
    assert saved == pytest.approx(elements * (gate + casts) / bandwidth, rel=1e-6)


def test_a_whole_step_tells_the_same_order(deepseek: Shape, h100: Machine, nemo: Code) -> None:
    one = layouts(data=64, batch=64, expert=64)

    def seconds(**values: float) -> float:
        return float(law.price(deepseek, h100, changed(nemo, **values), one)[0].time[0])

    eager, parts = seconds(), seconds(compiled=1.0)
    assert seconds(compiled=1.0, compiled_experts=1.0) < parts < eager
    assert seconds(deduplicates=1.0) < eager
    assert seconds(low=1.0, fused_experts=1.0) < seconds(low=1.0)
