"""Fully sharded weights in groups that fill a server, replicas of each other (HSDP)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opencolossus.plan import lattice
from opencolossus.plan.pricing import Pricing
from opencolossus.plan.stored import Stored
from opencolossus.specs import calibration, catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.run import Run
from opencolossus.step.layouts import Layouts
from opencolossus.train.parallel.layout import fault


def space(gpus: int, model: str = "llama3-70b") -> tuple[Pricing, Layouts]:
    """All layouts on servers of 8 H200 joined by 400G Ethernet."""
    pricing, known = stored(gpus, model)
    return pricing, known.take()


def stored(gpus: int, model: str) -> tuple[Pricing, Stored]:
    """The same, not written out."""
    pool = Pool(node=catalog.entry("nodes", "hgx-h200"), gpus=gpus)
    fabric = catalog.entry("fabrics", "ethernet-400")
    cluster = Cluster(name="test", pools={"main": pool}, fabric=fabric)
    found, run = catalog.entry("models", model), Run(tokens=1e12, batch=512 * 8192, sequence=8192)
    software = catalog.entry("software", "bridge-2026")
    pricing = Pricing.of(found, run, cluster, pool, software, calibration.shipped())
    grid = lattice.axes(found, run, pool.node, gpus, ("1f1b",))
    return pricing, lattice.stored(grid, found.layers, run.batch_sequences, gpus)


def test_groups_stay_inside_a_server_and_are_several() -> None:
    _, layouts = space(512)
    hybrid = layouts.take(layouts.shard_group > 0)
    assert len(hybrid.tensor) > 100
    assert np.all(hybrid.zero == 3)
    assert np.all(hybrid.shard_group * hybrid.tensor <= 8)
    assert np.all(hybrid.replicas % hybrid.shard_group == 0)
    assert np.all(hybrid.replicas > hybrid.shard_group)


@pytest.mark.parametrize("model", ["llama3-70b", "grok-1"])
def test_bytes_of_a_lattice_are_those_of_each_layout(model: str) -> None:
    pricing, known = stored(512, model)
    layouts = known.take()
    np.testing.assert_array_equal(pricing.held(known), pricing.memory(layouts))
    some = np.array([known.size - 1, 0, known.size // 2])
    np.testing.assert_array_equal(known.take(some).data, layouts.data[some])
    assert set(known.values("micro_batch")) == set(layouts.micro_batch)


def test_one_server_has_none() -> None:
    _, layouts = space(8)
    assert not (layouts.shard_group > 0).any()


@pytest.mark.parametrize("model", ["llama3-70b", "grok-1"])
def test_the_trainer_can_run_them(model: str) -> None:
    pricing, layouts = space(64, model)
    hybrid = layouts.take((layouts.shard_group > 0) & (layouts.batch == 512))
    refused = 0
    for index in range(0, hybrid.length, max(hybrid.length // 50, 1)):
        layout, data, _ = lattice.at(hybrid, index)
        inner = layout.tensor_parallel * layout.context_parallel * layout.pipeline_parallel
        run = pricing.run.model_copy(update={"layout": layout})
        reason = fault(layout, pricing.model, run, data * inner) or ""
        assert "shard" not in reason
        refused += bool(reason)
    assert refused < 50


def test_they_hold_more_and_send_less_far_than_full_sharding() -> None:
    pricing, layouts = space(512)
    layouts = layouts.take(pricing.fits(pricing.memory(layouts)))
    hybrid = layouts.take(layouts.shard_group > 0)
    fully = replace(hybrid, shard_group=np.zeros(hybrid.length))
    assert np.all(pricing.memory(hybrid) >= pricing.memory(fully))
    seconds = [pricing.price(some, 700.0, 512).seconds for some in (hybrid, fully)]
    assert np.mean(seconds[0] < seconds[1]) > 0.5
    at = pricing.machine(700.0, 512)
    every = pricing.price(layouts, 700.0, 512, replace(at, nic=at.nic / 4)).seconds
    sharded, grouped = layouts.zero == 3, layouts.shard_group > 0
    best = every[sharded & ~grouped].min()
    assert every[grouped].min() < best, "a network slower than the links inside a server"
