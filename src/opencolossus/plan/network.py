"""What the cluster's network is made of, and what collectives get out of it by place and route."""

from __future__ import annotations

import numpy as np

from opencolossus.fabric import clos, collectives
from opencolossus.fabric.collectives import Collective
from opencolossus.fabric.network import Integers, Network, build
from opencolossus.plan import machines
from opencolossus.plan.plan import Frozen
from opencolossus.specs import calibration
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Node
from opencolossus.step.collectives import all_reduce_out

SIZES = (1e5, 1e6, 1e7, 1e8, 1e9, 1e10)
"""Bytes on each GPU."""
LARGE = 1e9
HASHED_FLOWS = (1, 4)
"""Queue pairs per pair of ports whose hashes spread them."""


class AllReduce(Frozen):
    """Adding up a buffer over all servers, each rail its share."""

    size: float
    """Bytes on each GPU."""
    algorithm: str
    seconds: float
    """Between servers, by flows through the network."""
    law: float
    """The same by the closed form that prices steps."""


class Reach(Frozen):
    """What the slowest pair of ports gets in a ring over all servers."""

    placement: str
    routing: str
    dead_cables: int
    """Above one leaf."""
    slowest: float
    """Share of a port's bandwidth, 0..1."""


class NetworkReport(Frozen):
    """The network of a cluster."""

    cluster: str
    fabric: str
    servers: int
    ports: int
    tiers: int
    leaves: int
    spines: int
    cores: int
    switch_links: int
    leaf_cables: int
    """Cables from one leaf to the spines."""
    switch_power: float
    """W of all switches, with the modules in their ports."""
    bisection: float
    """B/s between two halves of the ports, one direction."""
    all_reduce: list[AllReduce]
    reach: list[Reach]


def report(cluster: Cluster | None) -> NetworkReport:
    """Size the network of a cluster and send collectives through it.

    Raises:
        UserError: there is no cluster, its fabric has no switches, or it is one server only.
    """
    if cluster is None:
        raise UserError(
            "cluster: the machine at hand has no network to look at; name a cluster, "
            "for example h100-1024"
        )
    node = max(cluster.pools.values(), key=lambda pool: pool.gpus).node
    fabric = cluster.fabric
    net = build(node, fabric, cluster.gpus)
    if net.servers < 2:
        raise UserError(
            f"cluster.pools: {cluster.gpus} GPUs are one server of {node.gpus}, and one server "
            f"needs no network; give it {2 * node.gpus} GPUs or more"
        )
    sized = clos.size(node, fabric, cluster.gpus)
    return NetworkReport(
        cluster=cluster.name,
        fabric=fabric.name,
        servers=net.servers,
        ports=net.ports,
        tiers=sized.tiers,
        leaves=sized.leaves,
        spines=sized.spines,
        cores=sized.cores,
        switch_links=sized.switch_links,
        leaf_cables=net.tiers[0].cables if net.tiers else 0,
        switch_power=sized.switches * (fabric.switch.power if fabric.switch else 0.0),
        bisection=sized.bisection,
        all_reduce=_sizes(net, cluster, node, sized),
        reach=_reach(net),
    )


def _sizes(net: Network, cluster: Cluster, node: Node, sized: clos.Clos) -> list[AllReduce]:
    order = np.arange(net.servers, dtype=np.int64)
    at = machines.machine(
        node,
        cluster.fabric,
        next(iter(node.gpu.flops)),
        calibration.shipped(),
        pod=sized.pod / node.nics * node.gpus,
        tiers=max(sized.tiers, 1),
    )
    servers, local = np.asarray(float(net.servers)), np.asarray(float(node.gpus))
    found: list[tuple[float, Collective]] = [
        (size, collectives.all_reduce(net, order, size)) for size in SIZES
    ]
    return [
        AllReduce(
            size=size,
            algorithm=result.algorithm,
            seconds=result.seconds,
            law=float(all_reduce_out(at, servers, local, np.asarray(size))),
        )
        for size, result in found
    ]


def _reach(net: Network) -> list[Reach]:
    """Rings in the order of the racks and in no order, by routing, whole and with dead cables."""
    order = np.arange(net.servers, dtype=np.int64)
    places = {"in order": order, "scattered": np.random.default_rng(0).permutation(order)}
    rows = []
    for placement, servers in places.items():
        rows.append(_ring(net, placement, servers, "adaptive", 1, 0))
        rows += [_ring(net, placement, servers, "hashed", n, 0) for n in HASHED_FLOWS]
    if net.tiers and net.tiers[0].cables > 1:
        dead = max(net.tiers[0].cables // 16, 1)
        hurt = net.without(0, 0, dead)
        rows += [_ring(hurt, name, who, "adaptive", 1, dead) for name, who in places.items()]
    return rows


def _ring(
    net: Network, placement: str, servers: Integers, routing: str, flows: int, dead: int
) -> Reach:
    result = collectives.all_reduce(
        net, servers, LARGE, "ring", "adaptive" if routing == "adaptive" else "hashed", flows
    )
    said = routing if routing == "adaptive" else f"hashed, {flows} flow{'s'[: flows > 1]} per port"
    return Reach(placement=placement, routing=said, dead_cables=dead, slowest=result.slowest)
