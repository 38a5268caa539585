"""Rates of flows that share cables: routes through a network, and max-min fairness on them.

Flows, not packets: congestion control lets all flows of a cable have the same share, and gives to
others what some cannot use. That is max-min fairness (Bertsekas & Gallager 1992, section 6.5.2).
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


def fair_rates(routes: Routes) -> Floats:
    """(flows,) max-min fair rates in B/s, by filling all pipes at once.

    In each round every pipe that is the tightest for all of its flows is full: its flows keep
    their share, and the rest goes on without them. A flow over a dead pipe has rate 0.
    """
    pipes = np.where(routes.pipes == NOWHERE, len(routes.capacity), routes.pipes)
    left = np.append(routes.capacity.astype(float), np.inf)
    rates = np.zeros(len(pipes))
    open_ = np.arange(len(pipes))
    while open_.size:
        mine = pipes[open_]
        load = np.bincount(mine.reshape(-1), minlength=left.size)
        share = np.where(load > 0, np.maximum(left, 0.0) / np.maximum(load, 1), np.inf)
        share[-1] = np.inf
        tentative = share[mine].min(axis=1)
        lowest = np.full(left.size, np.inf)
        np.minimum.at(lowest, mine.reshape(-1), np.repeat(tentative, mine.shape[1]))
        full = share <= lowest * (1 + 1e-12)
        done = full[mine].any(axis=1)
        rates[open_[done]] = tentative[done]
        used = np.repeat(tentative[done], mine.shape[1])
        left -= np.bincount(mine[done].reshape(-1), weights=used, minlength=left.size)
        left[-1] = np.inf
        open_ = open_[~done]
    return rates
