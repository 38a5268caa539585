"""Fleets of several kinds of GPU: the split against trying all splits, and what crosses kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opencolossus.plan import filled, joint, mixed
from opencolossus.plan.fleet import Fleet, ready_pools
from opencolossus.plan.joint import Found
from opencolossus.plan.pricing import Pricing
from opencolossus.plan.search import search
from opencolossus.specs import calibration, catalog
from opencolossus.specs.document import Description
from opencolossus.specs.run import Layout
from opencolossus.step.layouts import Layouts
from tests.plan.conftest import Make


def found_in(description: Description, shares: dict[str, float]) -> list[Found]:
    """Each pool searched on its own, without limits of power."""
    cluster = description.cluster
    assert cluster is not None
    pools = ready_pools(cluster, None, None)
    fleet = Fleet(None, cluster, None, None, None, pools)
    software, known = catalog.entry("software", "nemo-2025"), calibration.shipped()
    return [
        joint.search(
            Pricing.of(description.model, description.run, cluster, pool, software, known),
            fleet,
            name,
            shares[name],
            ("1f1b",),
            True,
        )
        for name, pool in pools.items()
    ]


def step_times(
    item: Found, kinds: list[Found], layout: Layout, replicas: int, micro: np.ndarray
) -> np.ndarray:
    """Seconds of a job of ``replicas`` replicas whose replicas of one kind each run ``micro``."""
    one = Layouts.of(layout, 1, 1)
    cost, _ = mixed.price(item, kinds, replace(one, batch=micro * layout.micro_batch), replicas)
    return np.broadcast_to(cost.time, micro.shape)


def best_rate(kinds: list[Found], layout: Layout, data: tuple[int, int], batch: int) -> float:
    """Sequences per second with the best micro-batches for so many replicas of two kinds."""
    micro = np.arange(1, batch + 1, dtype=float)
    working = [kind for kind, count in zip(kinds, data, strict=True) if count]
    first, second = (
        step_times(kind, working, layout, sum(data), micro) if count else 0 * micro
        for kind, count in zip(kinds, data, strict=True)
    )
    total = data[0] * micro[:, None] + data[1] * micro[None, :]
    pace = np.maximum(first[:, None], second[None, :])
    near = np.abs(total / batch - 1) <= filled.SLACK
    return float(np.max(np.where(near, total / pace, 0.0)))


@pytest.mark.parametrize("batch", [96, 128, 200, 509])
def test_the_split_is_as_good_as_the_best_of_all_splits(make: Make, batch: int) -> None:
    """8 + 4 replicas: every number of replicas at work and of micro-batches for each kind."""
    layout = Layout(tensor_parallel=8, micro_batch=1)
    description = make(
        model="llama3-8b",
        pools={"a": ("hgx-h100", 64), "b": ("hgx-a100-80", 32)},
        batch=8192 * batch,
        layout=layout,
    )
    kinds = found_in(description, {"a": 0.86, "b": 0.14})
    shares = mixed.split(kinds, description.run)
    done = sum(float(share.one.batch[0]) for share in shares)
    pace = max(float(share.cost.time[0]) for share in shares)
    best = max(
        best_rate(kinds, layout, (first, second), batch)
        for first in range(9)
        for second in range(5)
        if first + second
    )
    assert done / pace >= 0.985 * best
    assert abs(done / batch - 1) <= filled.SLACK


def test_slow_ports_of_one_kind_slow_the_exchange_of_all(make: Make) -> None:
    layout = Layout(tensor_parallel=8, pipeline_parallel=4, micro_batch=1)
    description = make(
        pools={"a": ("hgx-h100", 512), "b": ("hgx-a100-80", 512)}, batch=2**20, layout=layout
    )
    fast, slow = found_in(description, {"a": 0.7, "b": 0.3})
    one = Layouts.of(layout, 16, 64)
    alone, _ = mixed.price(fast, [fast], one, 32.0)
    both, _ = mixed.price(fast, [fast, slow], one, 32.0)
    nic = [float(k.pricing.machine(k.cap, 512).nic) for k in (fast, slow)]
    assert nic[1] < nic[0]
    assert float(both.data) > 1.2 * float(alone.data) > 0
    assert float(both.compute) == pytest.approx(float(alone.compute))


def test_a_second_kind_adds_to_the_exchange(make: Make) -> None:
    """100,000 H100 with 50,000 H200: the gradients of all replicas meet in one exchange."""
    description = make(
        model="grok-2",
        pools={"a": ("hgx-h100", 100_000), "b": ("hgx-h200", 50_000)},
        batch=8192 * 32768,
    )
    plan = search(description, power_limit=1e9, detail=False)
    assert {share.pool for share in plan.pools} == {"a", "b"}
    assert sum(share.gpus for share in plan.pools) == plan.gpus > 0.97 * 150_000
    assert plan.data_parallel == sum(share.data_parallel for share in plan.pools)
    times = [share.step_time for share in plan.pools]
    assert max(times) / min(times) < 1.05
    alone = search(description, power_limit=1e9, gpus={"b": 0}, detail=False)
    assert plan.tokens_per_second > 1.35 * alone.tokens_per_second


def test_a_kind_that_would_hold_the_others_up_rests(make: Make) -> None:
    """One replica of A100s cannot keep up with H100s that do one micro-batch each."""
    layout = Layout(tensor_parallel=8, micro_batch=1)
    description = make(
        model="llama3-8b",
        pools={"a": ("hgx-h100", 512), "b": ("hgx-a100-80", 8)},
        batch=8192 * 64,
        layout=layout,
    )
    plan = search(description, power_limit=1e9, detail=False)
    assert [share.pool for share in plan.pools] == ["a"]
    assert any("hold the others up" in text for text in plan.advice)
