"""Collectives of whole servers as flows through a network: rings, trees, switches, all-to-all.

Every rail carries its share of the buffer, all rails at once. What is here knows places and
routes; the step law has closed forms of the same algorithms that know none, and the two are held
against each other in tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from opencolossus.fabric.flows import Routing, route, slowest_rate
from opencolossus.fabric.network import Floats, Integers, Network
from opencolossus.specs.errors import UserError

Algorithm = Literal["ring", "tree", "in-network"]


@dataclass(frozen=True)
class Collective:
    """One collective among servers."""

    algorithm: str
    bandwidth_time: float
    """Seconds that its bytes take at the rate of the slowest flow."""
    latency_time: float
    """Seconds that small messages would take."""
    slowest: float
    """Rate of the slowest flow over the bandwidth of a port."""

    @property
    def seconds(self) -> float:
        """Seconds of the whole collective."""
        return self.bandwidth_time + self.latency_time


def all_reduce(
    network: Network,
    servers: Integers,
    size: float,
    algorithm: Algorithm | None = None,
    routing: Routing = "adaptive",
    flows_per_port: int = 1,
    rng: np.random.Generator | None = None,
) -> Collective:
    """Add up ``size`` B per server over all ``servers`` in the order given, a share on each rail.

    Args:
        algorithm: the fastest of all if left out, as NCCL chooses.
        flows_per_port: flows (queue pairs) that a hash spreads separately.

    Raises:
        UserError: fewer than two servers, a server that the network does not have, or in-network
            reduction by switches that can't.
    """
    if len(servers) < 2 or servers.min() < 0 or servers.max() >= network.servers:
        raise UserError(
            f"a collective needs two or more servers below {network.servers}, "
            f"not {len(servers)} of them up to {servers.max(initial=0)}"
        )
    if algorithm == "in-network" and not network.reduces:
        raise UserError("in-network reduction needs switches with in_network_reduction: true")
    wanted: list[Algorithm] = [algorithm] if algorithm else ["ring", "tree"]
    if algorithm is None and network.reduces:
        wanted.append("in-network")
    share = size / network.rails
    dice = rng or np.random.default_rng(0)
    found = [
        _switches(network, servers, share)
        if name == "in-network"
        else _neighbours(network, servers, share, name, routing, flows_per_port, dice)
        for name in wanted
    ]
    return min(found, key=lambda c: c.seconds)


def all_to_all(
    network: Network,
    servers: Integers,
    size: float,
    routing: Routing = "adaptive",
    flows_per_port: int = 1,
    rng: np.random.Generator | None = None,
) -> Collective:
    """Every server sends ``size`` B to the others in equal parts, one shift after the other.

    In step k server i sends to server i + k (linear shift; Zahavi 2012, which is free of
    contention on a full fat tree). Steps beyond ``MOST_SHIFTS`` are taken as those sampled.
    """
    count = len(servers)
    shifts = np.unique(np.linspace(1, count - 1, min(count - 1, MOST_SHIFTS)).astype(int))
    dice = rng or np.random.default_rng(0)
    part = size / network.rails / (count - 1)
    seconds, worst, delay = 0.0, 1.0, 0.0
    for shift in shifts:
        source, target = _ports(network, servers, np.roll(servers, -shift))
        rate = _slowest(network, source, target, routing, flows_per_port, dice)
        seconds += part / rate
        delay = max(delay, float(network.delay(source, target).max()))
        worst = min(worst, rate / network.bandwidth)
    return Collective("all-to-all", seconds * (count - 1) / len(shifts), delay, worst)


MOST_SHIFTS = 64


def _neighbours(
    network: Network,
    servers: Integers,
    share: float,
    algorithm: Algorithm,
    routing: Routing,
    flows_per_port: int,
    dice: np.random.Generator,
) -> Collective:
    count = len(servers)
    if algorithm == "ring":
        senders, receivers = servers, np.roll(servers, -1)
        moved = 2 * (count - 1) / count * share
    else:
        child, parent = _double_tree(count)
        senders = servers[np.concatenate([child, parent])]
        receivers = servers[np.concatenate([parent, child])]
        moved = share / 2
    source, target = _ports(network, senders, receivers)
    rate = _slowest(network, source, target, routing, flows_per_port, dice)
    delays = network.delay(source, target).reshape(-1, network.rails).max(axis=1)
    if algorithm == "ring":
        latency = 2 * (count - 1) / count * float(delays.sum())
    else:
        latency = 2 * _deepest(child, parent, delays[: len(child)], count)
    return Collective(algorithm, moved / rate, latency, rate / network.bandwidth)


def _switches(network: Network, servers: Integers, share: float) -> Collective:
    """Every port sends its share once and gets the sum back, through all tiers."""
    ends = network.latency + 2 * len(network.tiers) * network.switch_latency
    return Collective("in-network", share / network.bandwidth, 2 * ends, 1.0)


def _ports(network: Network, senders: Integers, receivers: Integers) -> tuple[Integers, Integers]:
    rail = np.arange(network.rails, dtype=np.int64)
    source = (senders[:, None] * network.rails + rail).reshape(-1)
    target = (receivers[:, None] * network.rails + rail).reshape(-1)
    return source, target


def _slowest(
    network: Network,
    source: Integers,
    target: Integers,
    routing: Routing,
    flows_per_port: int,
    dice: np.random.Generator,
) -> float:
    """B/s of the slowest pair of ports: all wait for it. Adaptive routing needs no copies."""
    copies = flows_per_port if routing == "hashed" else 1
    routes = route(network, np.repeat(source, copies), np.repeat(target, copies), routing, dice)
    slowest = slowest_rate(routes) * copies
    if slowest <= 0:
        raise UserError("a leaf or pod has no living cable left, so that its servers are cut off")
    return slowest


def _double_tree(count: int) -> tuple[Integers, Integers]:
    """Edges child to parent of two binary trees; who has children in one is a leaf of the other.

    In-order trees over positions 1..n, the second shifted by one (Sanders, Speck & Träff 2009).
    """
    position = np.arange(1, count + 1, dtype=np.int64)
    low = position & -position
    top = 1 << (int(count).bit_length() - 1)
    parent = np.where(position & (low << 1), position - low, position + low)
    while (over := parent > count).any():  # trees that are not full: the next ancestor that is
        bit = parent[over] & -parent[over]
        parent[over] = np.where(parent[over] & (bit << 1), parent[over] - bit, parent[over] + bit)
    keep = position != top
    child, above = position[keep] - 1, parent[keep] - 1
    return (
        np.concatenate([child, (child + 1) % count]),
        np.concatenate([above, (above + 1) % count]),
    )


def _deepest(child: Integers, parent: Integers, delays: Floats, count: int) -> float:
    """Longest sum of delays from a leaf to the root, of the slower of the two trees."""
    worst = 0.0
    for part in np.split(np.arange(len(child)), 2):
        above = np.full(count, -1, dtype=np.int64)
        cost = np.zeros(count)
        above[child[part]], cost[child[part]] = parent[part], delays[part]
        total, node = np.zeros(count), np.arange(count)
        while (moving := node >= 0).any():
            total[moving] += cost[node[moving]]
            node[moving] = above[node[moving]]
        worst = max(worst, float(total.max()))
    return worst
