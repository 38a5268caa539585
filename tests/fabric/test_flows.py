"""Max-min fairness by its definition, and routes through tiers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.fabric.flows import NOWHERE, Routes, route, slowest_rate
from opencolossus.fabric.network import Network, build
from opencolossus.specs import catalog
from opencolossus.specs.errors import UserError
from tests.fabric.fairness import fair_rates


def network(gpus: int = 4096, **changes: object) -> Network:
    """64-port switches, eight rails, by default full bisection."""
    fabric = catalog.entry("fabrics", "quantum-2-ndr").model_copy(update=changes)
    return build(catalog.entry("nodes", "hgx-h100"), fabric, gpus)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 12), st.integers(1, 4))
def test_every_flow_has_a_full_pipe_where_none_is_faster(
    seed: int, flows: int, pipes: int, hops: int
) -> None:
    """The definition of max-min fairness (Bertsekas & Gallager 1992, section 6.5.2)."""
    rng = np.random.default_rng(seed)
    chosen = np.stack([rng.permutation(pipes)[: min(hops, pipes)] for _ in range(flows)])
    chosen = np.where(
        (rng.random(chosen.shape) < 0.3) & (np.arange(chosen.shape[1]) > 0), -1, chosen
    )
    routes = Routes(chosen, rng.uniform(0.1, 10, pipes))
    rates = fair_rates(routes)
    on = [np.flatnonzero((chosen == pipe).any(axis=1)) for pipe in range(pipes)]
    load = np.array([rates[who].sum() for who in on])
    assert np.all(load <= routes.capacity * (1 + 1e-9))
    full = load >= routes.capacity * (1 - 1e-9)
    for flow, rate in enumerate(rates):
        mine = chosen[flow][chosen[flow] != NOWHERE]
        assert any(full[p] and rate >= rates[on[p]].max() * (1 - 1e-9) for p in mine)
    assert slowest_rate(routes) == pytest.approx(rates.min())


def test_rails_meet_below_a_leaf_and_pods_meet_above_spines() -> None:
    net = network(16_384)  # three tiers of 64 ports: 32 servers a leaf rail, 32 leaves a pod
    port = lambda server, rail: np.array([server * 8 + rail])  # noqa: E731
    assert net.crossed(port(0, 3), port(31, 3)).item() == 0
    assert net.crossed(port(0, 3), port(0, 4)).item() == 1
    assert net.crossed(port(0, 3), port(32, 3)).item() == 1
    assert net.crossed(port(0, 3), port(32 * 4, 3)).item() == 2
    assert net.delay(port(0, 3), port(32 * 4, 3)).item() == pytest.approx(2e-6 + 4 * 250e-9)


def test_without_rails_a_leaf_holds_whole_servers() -> None:
    net = network(4096, rail_optimised=False)
    assert net.crossed(np.array([0]), np.array([7])).item() == 0
    assert net.crossed(np.array([0]), np.array([32])).item() == 1


@pytest.mark.parametrize("routing", ["adaptive", "hashed"])
def test_a_permutation_within_leaves_runs_at_full_rate(routing: str) -> None:
    net = network()
    source = np.arange(net.ports)
    target = (source // 8 // 32 * 32 + (source // 8 + 5) % 32) * 8 + source % 8
    rates = fair_rates(route(net, source, target, routing))
    assert rates == pytest.approx(net.bandwidth)


def test_hashed_flows_collide_and_adaptive_ones_do_not() -> None:
    """Balls in bins: of 32 flows on 32 cables some meet three others."""
    net, rng = network(), np.random.default_rng(3)
    servers = rng.permutation(net.servers)
    source = (servers[:, None] * 8 + np.arange(8)).reshape(-1)
    target = (np.roll(servers, 1)[:, None] * 8 + np.arange(8)).reshape(-1)
    spread = fair_rates(route(net, source, target))
    hashed = fair_rates(route(net, source, target, "hashed", rng))
    assert spread == pytest.approx(net.bandwidth)
    assert 1 / 6 <= hashed.min() / net.bandwidth <= 1 / 3
    assert 0.4 < hashed.mean() / net.bandwidth < 0.6


def test_a_hash_avoids_dead_cables() -> None:
    net = network().without(0, 0, 24)
    source, target = np.arange(32) * 8, np.arange(32) * 8 + 32 * 8
    rates = fair_rates(route(net, source, target, "hashed"))
    assert rates.min() > 0
    assert rates.sum() == pytest.approx(8 * net.bandwidth)


def test_more_dead_cables_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match="take at most 32"):
        network().without(0, 0, 33)


def test_no_switches_no_network() -> None:
    node = catalog.entry("nodes", "hgx-h100")
    with pytest.raises(UserError, match="without switches"):
        build(node, catalog.entry("fabrics", "none"), 8)
