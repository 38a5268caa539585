"""A folded Clos as pipes: every port, and every cable between switches, in both directions.

Blocks of switches nest: ports below leaves, leaves below pods, pods below the next tier. From each
block cables lead to the tier above, and what happens between two blocks is decided by those
cables alone, as the switches themselves are non-blocking (Leiserson 1985, fat trees; Al-Fares,
Loukissas & Vahdat 2008).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opencolossus.fabric import clos
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Fabric, Node

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tier:
    """Blocks of one tier and their cables to the tier above."""

    block: Integers
    """(ports,) block that each port of a server hangs below."""
    alive: Floats
    """(blocks, cables) share of each cable's bandwidth that is left, 0..1."""

    @property
    def blocks(self) -> int:
        """Blocks of the tier."""
        return int(self.alive.shape[0])

    @property
    def cables(self) -> int:
        """Cables from one block to the tier above."""
        return int(self.alive.shape[1])


@dataclass(frozen=True)
class Network:
    """Ports of servers, and the tiers above them that have a tier above."""

    servers: int
    rails: int
    """Ports of one server; port ``server * rails + rail``."""
    bandwidth: float
    """B/s of one port or cable and direction, as large messages reach it."""
    latency: float
    """Seconds of a small message between two servers on one leaf."""
    switch_latency: float
    """Seconds through one more switch."""
    reduces: bool
    """Whether the switches add up (in-network reduction)."""
    tiers: tuple[Tier, ...]

    @property
    def ports(self) -> int:
        """Ports of all servers."""
        return self.servers * self.rails

    def crossed(self, source: Integers, target: Integers) -> Integers:
        """(flows,) tiers of cables that messages between two ports go up; 0 below one leaf."""
        up = np.zeros(len(source), dtype=np.int64)
        for tier in self.tiers:
            up += tier.block[source] != tier.block[target]
        return up

    def delay(self, source: Integers, target: Integers) -> Floats:
        """(flows,) seconds of a small message between two ports."""
        return np.asarray(
            self.latency + 2 * self.crossed(source, target) * self.switch_latency, dtype=float
        )

    def without(self, tier: int, block: int, cables: int) -> Network:
        """The same with ``cables`` dead cables above one block (tier 0: leaves).

        Raises:
            UserError: the block has fewer living cables than that.
        """
        alive = self.tiers[tier].alive.copy()
        living = np.flatnonzero(alive[block])
        if cables > len(living):
            raise UserError(
                f"block {block} of tier {tier} has {len(living)} living cables, "
                f"but {cables} shall die; take at most {len(living)}"
            )
        alive[block, living[:cables]] = 0.0
        tiers = list(self.tiers)
        tiers[tier] = replace(tiers[tier], alive=alive)
        return replace(self, tiers=tuple(tiers))


def build(node: Node, fabric: Fabric, gpus: int) -> Network:
    """The network of the servers of ``gpus`` GPUs.

    Raises:
        UserError: the fabric has no switches, or carries fewer ports.
    """
    switch = fabric.switch
    if switch is None or fabric.kind == "none":
        raise UserError("cluster.fabric.kind is 'none': without switches there is no network")
    sized = clos.size(node, fabric, gpus)
    servers = -(-gpus // node.gpus)
    down, up = clos.leaf_ports(sized.radix, fabric.oversubscription)
    tiers, block = [], _leaf(servers, node.nics, down, fabric.rail_optimised)
    cables = up
    for _ in range(sized.tiers - 1):
        tiers.append(Tier(block, np.ones((int(block.max()) + 1, cables))))
        block, cables = block // (sized.radix // 2), cables * (sized.radix // 2)
    return Network(
        servers=servers,
        rails=node.nics,
        bandwidth=node.nic_bandwidth * fabric.efficiency,
        latency=fabric.latency,
        switch_latency=switch.latency,
        reduces=switch.in_network_reduction,
        tiers=tuple(tiers),
    )


def _leaf(servers: int, rails: int, down: int, rail_optimised: bool) -> Integers:
    """(ports,) leaf of each port: port i of ``down`` neighbouring servers shares one by rails."""
    port = np.arange(servers * rails, dtype=np.int64)
    if not rail_optimised:
        return port // down
    return port // rails // down * rails + port % rails
