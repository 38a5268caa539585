"""Routes of flows through a network, and the rate of the slowest where they share cables.

Flows, not packets: congestion control lets all flows of a cable have the same share, and gives to
others what some cannot use. That is max-min fairness (Bertsekas & Gallager 1992, section 6.5.2),
whose lowest rate needs no rounds of filling. The tests hold it against all rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from opencolossus.fabric.network import Floats, Integers, Network, Tier

Routing = Literal["adaptive", "hashed"]
"""Packets of a flow over all cables that lead there, or each flow over one, chosen by a hash."""
NOWHERE = -1
TRIES = 64
"""Times that a hash is drawn again because a cable is dead."""


@dataclass(frozen=True)
class Routes:
    """The pipes that flows go through."""

    pipes: Integers
    """(flows, hops) numbers of pipes, ``NOWHERE`` where a route is shorter."""
    capacity: Floats
    """(pipes,) B/s."""


def route(
    network: Network,
    source: Integers,
    target: Integers,
    routing: Routing = "adaptive",
    rng: np.random.Generator | None = None,
) -> Routes:
    """Routes of flows between ports.

    Adaptive routing makes one pipe of all cables above a block. A hash takes the same cable of
    both blocks, since one switch of the tier above leads to both.

    Args:
        source: (flows,) ports.
        target: (flows,) ports.
        rng: the hash; seed 0 if left out.
    """
    dice = rng or np.random.default_rng(0)
    ports = network.ports
    columns = [source, ports + target]
    capacity = [np.full(2 * ports, network.bandwidth)]
    start, wide, cable = 2 * ports, 1, np.zeros(len(source), dtype=np.int64)
    for tier in network.tiers:
        below, above = tier.block[source], tier.block[target]
        if routing == "adaptive":
            pipes, up, down = tier.alive.sum(axis=1), below, above
        else:
            cable = _hash(tier, below, above, cable, tier.cables // wide, dice)
            pipes, wide = tier.alive.reshape(-1), tier.cables
            up, down = below * wide + cable, above * wide + cable
        apart = below != above
        columns.append(np.where(apart, start + up, NOWHERE))
        columns.append(np.where(apart, start + len(pipes) + down, NOWHERE))
        capacity += [network.bandwidth * pipes] * 2
        start += 2 * len(pipes)
    return Routes(np.stack(columns, axis=1), np.concatenate(capacity))


def _hash(
    tier: Tier,
    below: Integers,
    above: Integers,
    cable: Integers,
    choices: int,
    dice: np.random.Generator,
) -> Integers:
    """(flows,) cables by chance, among those that are alive at both ends where there are such."""
    chosen = cable * choices + dice.integers(choices, size=len(cable))
    for _ in range(TRIES):
        dead = np.flatnonzero(tier.alive[below, chosen] * tier.alive[above, chosen] == 0)
        if not dead.size:
            break
        chosen[dead] = cable[dead] * choices + dice.integers(choices, size=dead.size)
    return chosen


def slowest_rate(routes: Routes) -> float:
    """Lowest of all max-min fair rates in B/s: that of the tightest pipe, shared by its flows."""
    used = routes.pipes[routes.pipes != NOWHERE]
    load = np.bincount(used, minlength=len(routes.capacity))
    busy = load > 0
    return float((routes.capacity[busy] / load[busy]).min())
