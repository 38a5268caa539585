"""What this process reaches with PyTorch on a CPU: products, copies, messages; about a second."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from opencolossus.plan.facts import Facts, cores, fastest, remember
from opencolossus.train import world

MATRIX = 1024
COPIED = 1 << 24
"""Numbers that the processes of a machine copy: 64 MB in all, more than most caches hold."""
BUDGET = 0.25
"""Seconds spent on each measurement."""
MESSAGE = 1 << 20
"""Numbers summed to see how fast processes exchange them: 4 MB, as large as a bucket."""
TIMES = 5


@functools.cache
def found() -> Facts:
    """What each process of this run reaches; kept for later plans where it has all cores.

    Every process must call this at the same time; all get the same.
    """
    if world.size() > 1:
        return together()
    mine = _rates()
    return remember(mine) if torch.get_num_threads() == cores() else mine


def together() -> Facts:
    """What each process reaches while all do the same: the slowest of them."""
    mine = _rates()
    rates = world.most([-mine.fp32, -mine.bf16, -mine.copied])
    start = _message(1)
    seconds = max(_message(MESSAGE) - start, 1e-9)
    share = (world.size() - 1) / world.size()
    return Facts(
        fp32=-rates[0],
        bf16=-rates[1],
        copied=-rates[2],
        sent=2 * share * 4 * MESSAGE / seconds,
        start=start,
    )


def _rates() -> Facts:
    return Facts(
        fp32=product_rate(torch.float32),
        bf16=product_rate(torch.bfloat16),
        copied=copy_rate(),
    )


def product_rate(dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product on the CPU, the best of several: its practical peak."""
    a = torch.randn(MATRIX, MATRIX).to(dtype)
    return 2.0 * MATRIX**3 / fastest(lambda: a @ a, BUDGET)


def copy_rate() -> float:
    """B/s that a copy of what no cache holds reads and writes, with all threads.

    Each process copies its part, as it has a part of a step's tokens: were all to copy as much as
    one does alone, they would together touch more memory than a step does, and look slower.
    """
    part = COPIED // world.neighbours()
    source, target = torch.ones(part), torch.empty(part)
    return 2.0 * source.nbytes / fastest(lambda: target.copy_(source), BUDGET)


def _message(numbers: int) -> float:
    """Seconds of a sum of so many numbers over all processes: the usual time of the slowest."""
    buffer = torch.zeros(numbers)
    times = [_timed(lambda: dist.all_reduce(buffer)) for _ in range(2 * TIMES + 1)]
    return world.most([sorted(times)[TIMES]])[0]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
