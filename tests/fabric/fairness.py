"""All max-min fair rates of flows, as a reference: the package needs the lowest only."""

from __future__ import annotations

import numpy as np

from opencolossus.fabric.flows import NOWHERE, Routes
from opencolossus.fabric.network import Floats


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
