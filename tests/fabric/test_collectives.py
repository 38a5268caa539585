"""Collectives by flows against step-by-step play, closed forms and the step law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.fabric.collectives import _double_tree, all_reduce, all_to_all
from opencolossus.fabric.network import Network, build
from opencolossus.plan.machines import machine
from opencolossus.specs import calibration, catalog
from opencolossus.specs.errors import UserError
from opencolossus.step.collectives import all_reduce_out

NODE = catalog.entry("nodes", "hgx-h100")
FABRIC = catalog.entry("fabrics", "quantum-2-ndr")


def network(gpus: int = 4096, **changes: object) -> Network:
    """64-port switches, eight rails, by default full bisection."""
    return build(NODE, FABRIC.model_copy(update=changes), gpus)


def played_ring(net: Network, servers: np.ndarray, size: float) -> float:
    """Seconds of a ring all-reduce, message by message: a chunk leaves when the one before it
    has arrived, and every port sends one chunk at a time."""
    count, chunk = len(servers), size / net.rails / len(servers)
    ready = np.zeros((count, net.rails))
    for _ in range(2 * (count - 1)):
        sent = ready + chunk / net.bandwidth
        for rail in range(net.rails):
            source = servers * net.rails + rail
            sent[:, rail] += net.delay(source, np.roll(source, -1))
        ready = np.roll(sent, 1, axis=0)
    return float(ready.max())


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("scattered", [False, True])
def test_a_ring_agrees_with_its_messages_played_one_by_one(size: float, scattered: bool) -> None:
    net = network(1024)
    servers = np.arange(net.servers)
    if scattered:
        servers = np.random.default_rng(1).permutation(servers)
    found = all_reduce(net, servers, size, "ring")
    assert found.seconds == pytest.approx(played_ring(net, servers, size), rel=0.03)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300))
def test_both_trees_span_and_no_server_has_children_in_both(count: int) -> None:
    child, parent = _double_tree(count)
    inner = []
    for part in np.split(np.arange(len(child)), 2):
        above = dict(zip(child[part].tolist(), parent[part].tolist(), strict=True))
        assert len(above) == count - 1
        roots = set()
        for node in range(count):
            for _ in range(count):
                if node not in above:
                    break
                node = above[node]
            roots.add(node)
        assert len(roots) == 1
        children = np.bincount(parent[part], minlength=count)
        assert children.max() <= 2
        inner.append(children > 0)
    if count % 2 == 0:  # an odd number has one that works in both
        assert not np.any(inner[0] & inner[1])


def test_trees_take_logarithmic_and_rings_linear_time() -> None:
    small, large = network(512), network(32_768)
    times = {
        name: [all_reduce(net, np.arange(net.servers), 8.0, name).seconds for net in (small, large)]
        for name in ("ring", "tree")
    }
    assert times["ring"][1] / times["ring"][0] > 50
    assert times["tree"][1] / times["tree"][0] < 3.5


def test_switches_that_add_up_beat_both_and_others_are_refused() -> None:
    net = network(4096)
    assert all_reduce(net, np.arange(net.servers), 1e9).algorithm == "in-network"
    ethernet = build(NODE, catalog.entry("fabrics", "spectrum-x-400"), 4096)
    with pytest.raises(UserError, match="in_network_reduction"):
        all_reduce(ethernet, np.arange(512), 1e9, "in-network")


def test_a_dead_cable_hurts_scattered_servers_and_not_neighbours() -> None:
    net = network()
    hurt = net.without(0, 0, 4)
    order = np.arange(net.servers)
    scattered = np.random.default_rng(2).permutation(order)
    assert all_reduce(hurt, order, 1e9, "ring").slowest == pytest.approx(1.0)
    # of the leaf's 32 flows some go to a server below the same one by chance, on either way
    block = scattered // 32
    leaving = sum((block == 0) & (np.roll(block, -1) != 0))
    assert leaving > 28
    assert all_reduce(hurt, scattered, 1e9, "ring").slowest == pytest.approx(28 / leaving)


def test_a_thin_spine_slows_what_crosses_it() -> None:
    net = network(oversubscription=3.0)  # 48 ports down, 16 up
    order = np.arange(net.servers)
    scattered = np.random.default_rng(2).permutation(order)
    assert all_reduce(net, order, 1e9, "ring").slowest == pytest.approx(1.0)
    assert all_reduce(net, scattered, 1e9, "ring").slowest == pytest.approx(1 / 3, rel=0.15)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 512), st.integers(0, 2**31))
def test_all_to_all_is_never_faster_than_the_ports(count: int, seed: int) -> None:
    net = network()
    servers = np.random.default_rng(seed).permutation(net.servers)[:count]
    size = 1e9
    for routing in ("adaptive", "hashed"):
        found = all_to_all(net, servers, size, routing)
        assert found.seconds >= size / net.rails / net.bandwidth * (1 - 1e-9)


@pytest.mark.parametrize("servers", [4, 64, 512, 2048])
@pytest.mark.parametrize("size", [64e3, 16e6, 1e9, 16e9])
def test_the_step_law_agrees_with_flows_where_neighbours_are_near(
    servers: int, size: float
) -> None:
    """The law knows sizes only; it should lie within a fifth of the flows for large messages,
    and within a factor of two where latency decides."""
    net = network(8 * servers)
    flows = min(
        all_reduce(net, np.arange(servers), size, name).seconds for name in ("ring", "tree")
    )
    tiers = len(net.tiers) + 1
    at = machine(NODE, FABRIC, "bf16", calibration.shipped(), pod=1e9, tiers=tiers)
    law = float(all_reduce_out(at, np.asarray(float(servers)), np.asarray(8.0), np.asarray(size)))
    assert law == pytest.approx(flows, rel=0.2 if size >= 1e9 else 1.0)


def test_a_collective_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="two or more servers"):
        all_reduce(network(512), np.array([3]), 1e6)
