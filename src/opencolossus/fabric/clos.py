"""How many switches and links a folded Clos (fat tree) of given size needs.

With switches of k ports, half of them down and half up, two tiers carry k²/2 hosts and three k³/4
(Al-Fares, Loukissas & Vahdat 2008, section 3). With oversubscription o a leaf has o times as
many ports down as up. Rails change which server hangs on which leaf, not how many there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Fabric, Node

MOST_TIERS = 4


@dataclass(frozen=True)
class Clos:
    """A sized fabric."""

    radix: int
    """Ports of a switch at the speed of a host's port."""
    tiers: int
    leaves: int
    spines: int
    cores: int
    """Switches of the third and of higher tiers."""
    host_links: int
    switch_links: int
    """Links between switches, each with two optical modules."""
    pod: int
    """Hosts below one spine group, whose traffic never meets the cores."""
    bisection: float
    """Bandwidth between two halves of the hosts in B/s, one direction."""

    @property
    def switches(self) -> int:
        """All switches."""
        return self.leaves + self.spines + self.cores


def size(node: Node, fabric: Fabric, gpus: int) -> Clos:
    """Size ``fabric`` for the servers of ``gpus`` GPUs.

    Raises:
        UserError: no number of tiers up to four carries that many ports.
    """
    hosts = math.ceil(gpus / node.gpus) * node.nics
    switch = fabric.switch
    if switch is None or fabric.kind == "none":
        return Clos(0, 0, 0, 0, 0, 0, 0, max(hosts, 1), 0.0)
    radix = int(switch.ports * switch.port_bandwidth / node.nic_bandwidth + 1e-9)
    over = fabric.oversubscription
    down, up = leaf_ports(radix, over)
    tiers = tiers_for(hosts, radix, down)
    leaves = math.ceil(hosts / (down if tiers > 1 else radix))
    links = leaves * up if tiers > 1 else 0
    spines = math.ceil(links / radix) if tiers == 2 else math.ceil(links / (radix // 2))
    spines = spines if tiers > 1 else 0
    cores = 0
    if tiers >= 3:
        per_tier = math.ceil(links / radix)
        cores = per_tier + (tiers - 3) * 2 * per_tier
    above = links * max(tiers - 1, 0)
    pod = hosts if tiers <= 2 else down * (radix // 2)
    half = hosts / 2 * node.nic_bandwidth * fabric.efficiency
    return Clos(
        radix, tiers, leaves, spines, cores, hosts, above, pod, half / (over if tiers > 1 else 1)
    )


def leaf_ports(radix: int, oversubscription: float) -> tuple[int, int]:
    """Ports of a leaf down to servers and up to spines."""
    down = max(int(radix * oversubscription / (1 + oversubscription)), 1)
    return down, max(radix - down, 1)


def tiers_for(hosts: int, radix: int, down: int) -> int:
    """Fewest tiers that carry ``hosts``: radix, then down x radix, then a half more radix each.

    Raises:
        UserError: more than four would be needed.
    """
    most = radix
    for tiers in range(1, MOST_TIERS + 1):
        if hosts <= most:
            return tiers
        most = down * radix if tiers == 1 else most * (radix // 2)
    raise UserError(
        f"cluster.fabric.switch: {MOST_TIERS} tiers of {radix}-port switches carry "
        f"{most // max(radix // 2, 1)} ports, but {hosts} are needed; "
        "choose a switch with more ports"
    )
