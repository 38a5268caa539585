"""What must hold of every price, and closed forms where there are any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.specs import catalog
from opencolossus.step import law
from opencolossus.step import shape as shapes
from opencolossus.step.collectives import dispatch_time
from opencolossus.step.columns import Array
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape
from tests.step.conftest import layouts

MODELS = ("gpt3-175b", "llama3-8b", "llama3-70b", "mixtral-8x7b", "deepseek-v3", "grok-1", "grok-2")


def random_layouts(seed: int, count: int = 64) -> Layouts:
    """Layouts of Llama 70B of all kinds."""
    r = np.random.default_rng(seed)
    data = r.choice([1, 2, 4, 8, 16], count)
    micro = r.choice([1, 2, 4], count)
    return layouts(
        tensor=r.choice([1, 2, 4, 8], count),
        context=r.choice([1, 2, 4], count),
        pipeline=r.choice([1, 2, 4, 8, 10], count),
        virtual=np.ones(count),
        data=data,
        micro_batch=micro,
        batch=data * micro * r.choice([1, 4, 16], count),
        zero=r.choice([0, 1, 2, 3], count),
        recompute=r.choice([0, 1, 2], count),
        schedule=np.zeros(count),
    )


def seconds(shape: Shape, machine: Machine, code: Code, those: Layouts) -> Array:
    return law.price(shape, machine, code, those)[0].time


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_flops_are_those_of_the_specs(name: str) -> None:
    model = catalog.entry("models", name)
    shape = Shape.of(model, 2048)
    assert float(shapes.parameters(shape)) == pytest.approx(model.parameters, rel=2e-3)
    assert float(shapes.forward_flops_per_token(shape)) == pytest.approx(
        model.flops_per_token(2048), rel=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), gain=st.floats(1.01, 4.0))
@pytest.mark.parametrize("name", ["nic", "link", "memory_bandwidth", "peak16", "clock"])
def test_better_hardware_is_never_slower(
    name: str, llama: Shape, h100: Machine, nemo: Code, seed: int, gain: float
) -> None:
    those = random_layouts(seed)
    changes = {name: getattr(h100, name) * gain}
    if name == "peak16":
        changes["peak"] = h100.peak * gain
    better = replace(h100, **changes)
    before, after = seconds(llama, h100, nemo, those), seconds(llama, better, nemo, those)
    assert np.all(after <= before * (1 + 1e-9))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_layout_beats_the_peak(llama: Shape, h100: Machine, nemo: Code, seed: int) -> None:
    those = random_layouts(seed)
    flops = 3 * shapes.forward_flops_per_token(llama) * llama.sequence * those.batch
    assert np.all(seconds(llama, h100, nemo, those) * those.gpus >= flops / h100.peak16)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_parts_are_positive_and_add_up(llama: Shape, h100: Machine, nemo: Code, seed: int) -> None:
    cost, held = law.price(llama, h100, nemo, random_layouts(seed))
    names = ("compute", "recompute", "gaps", "tensor", "context", "expert", "sends", "bubble")
    parts = [np.broadcast_to(getattr(cost, n), cost.time.shape) for n in names]
    parts += [
        np.broadcast_to(getattr(cost, n), cost.time.shape)
        for n in ("data", "optimiser", "stragglers")
    ]
    assert all(np.all(p >= 0) for p in parts)
    np.testing.assert_allclose(sum(parts), cost.time, rtol=1e-12)
    assert np.all(held.total > 0)


def test_one_gpu_is_the_closed_form(llama: Shape, h100: Machine, nemo: Code) -> None:
    """tp = pp = dp = 1: layers times the layer's parts, the head, the optimiser, no messages."""
    one = layouts(batch=4)
    cost, _ = law.price(llama, h100, nemo, one)
    layer = law.layer_costs(llama, h100, nemo, one)
    expected = 4 * (80 * float(layer.total[0]) + float(layer.head[0]))
    stretch = 1 + float(nemo.jitter) * np.sqrt(2 * np.log(1.0))
    total = expected * stretch + float(cost.optimiser[0]) + float(nemo.step_gap)
    assert float(cost.time[0]) == pytest.approx(total, rel=1e-9)
    assert float(cost.communication[0]) == 0
    assert float(cost.bubble[0]) == 0


def test_pricing_many_equals_pricing_each(llama: Shape, h100: Machine, nemo: Code) -> None:
    """Cuts are priced once and shared; the result must be the same as one at a time."""
    those = random_layouts(7)
    together = seconds(llama, h100, nemo, those)
    each = [float(seconds(llama, h100, nemo, those.take(slice(i, i + 1)))[0]) for i in range(64)]
    np.testing.assert_allclose(together, each, rtol=1e-12)


def test_more_work_takes_longer(llama: Shape, h100: Machine, nemo: Code) -> None:
    base = random_layouts(3)
    again = replace(base, recompute=np.full(64, 2.0))
    plain = replace(base, recompute=np.zeros(64))
    assert np.all(seconds(llama, h100, nemo, again) >= seconds(llama, h100, nemo, plain))
    deeper = replace(llama, layers=np.asarray(160.0))
    assert np.all(seconds(deeper, h100, nemo, base) > seconds(llama, h100, nemo, base))


def test_experts_cost_dispatch_only_when_spread(deepseek: Shape, h100: Machine, nemo: Code) -> None:
    whole = layouts(data=64, batch=64, expert=1)
    spread = layouts(data=64, batch=64, expert=64)
    assert float(law.price(deepseek, h100, nemo, whole)[0].expert[0]) == 0
    assert float(law.price(deepseek, h100, nemo, spread)[0].expert[0]) > 0


def test_a_plain_all_to_all_hides_under_nothing(deepseek: Shape, h100: Machine, nemo: Code) -> None:
    """Inside a server it takes what the links need; a kernel that also sorts shows its excess."""
    one, tokens = layouts(data=8, batch=8, expert=8), np.asarray(4096.0)
    plain, fused = (
        float(
            dispatch_time(deepseek, h100, replace(nemo, deduplicates=np.asarray(d)), one, tokens)[0]
        )
        for d in (0.0, 1.0)
    )
    moved = 4096 * 8 * 2 * 7168 * 7 / 8
    assert plain > moved / float(h100.link)
    assert fused < 0.5 * plain


def test_stragglers_grow_with_ranks(llama: Shape, h100: Machine, nemo: Code) -> None:
    """The expected maximum of n normal spreads grows as sqrt(2 ln n)."""
    data = np.array([8.0, 512.0, 16384.0])
    those = layouts(tensor=np.full(3, 8.0), data=data, batch=data)
    cost, _ = law.price(llama, h100, nemo, those)
    share = cost.stragglers / (cost.compute + cost.gaps)
    assert share[0] < share[1] < share[2] < 0.2


def test_a_lower_clock_slows_products_only(llama: Shape, h100: Machine, nemo: Code) -> None:
    slow = replace(h100, clock=np.asarray(0.5))
    one = layouts(tensor=8, batch=8)
    fast_cost, slow_cost = (law.price(llama, m, nemo, one)[0] for m in (h100, slow))
    assert float(slow_cost.compute[0]) > 1.5 * float(fast_cost.compute[0])
    assert float(slow_cost.tensor[0]) == pytest.approx(float(fast_cost.tensor[0]))
