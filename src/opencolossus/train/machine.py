"""The processes of this run as the planner sees them: measured, by all of them at once."""

from __future__ import annotations

import os
import time

import torch
import torch.distributed as dist

from opencolossus.plan import here
from opencolossus.specs.cluster import Cluster
from opencolossus.train import world
from opencolossus.train.precision import matmul_rate

MESSAGE = 1 << 20
"""Numbers summed to see how fast processes exchange them: 4 MB, as large as a bucket."""


def measure(dtype: torch.dtype, device: torch.device) -> Cluster:
    """One device for each process of this run, alike on all machines.

    On CPUs the rates are what a process reaches while all others do the same. Every process must
    call this at the same time; all get what the first one found.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or world.size())
    local = local if world.size() % local == 0 else world.size()
    if device.type != "cpu":
        return world.from_first(here.several(world.size(), local, None, None))
    slowest = -world.most([-matmul_rate(dtype)])[0]
    # Each process measures copies too, so that none of them has the memory for itself.
    return world.from_first(here.several(world.size(), local, slowest, _link_rate()))


def _link_rate() -> float | None:
    """B/s that a process sends and receives in a sum over all: twice a message less a part."""
    if world.size() == 1:
        return None
    numbers = torch.ones(MESSAGE)
    dist.all_reduce(numbers)
    best = min(_timed(numbers) for _ in range(3))
    share = (world.size() - 1) / world.size()
    return 2 * share * numbers.nbytes / world.most([best])[0]


def _timed(numbers: torch.Tensor) -> float:
    numbers.fill_(1.0)
    start = time.perf_counter()
    dist.all_reduce(numbers)
    return time.perf_counter() - start
