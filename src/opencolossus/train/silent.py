"""When a collective fails: which process did not answer."""

from __future__ import annotations

import time

import torch.distributed as dist

from opencolossus.specs.errors import UserError
from opencolossus.train import world

GRACE = 5.0
"""Seconds within which the processes that noticed a failure all say so."""


def who(error: Exception, step: int) -> UserError:
    """The sentence that names the processes that are hung or gone.

    Every process that notices says so in the common store; those that do not are the cause.
    """
    try:
        missing = _missing()
    except (RuntimeError, dist.DistError):
        missing = []
    first = str(error).splitlines()[0]
    if not missing:
        return UserError(f"processes lost each other after step {step} ({first}); resume the run")
    ranks = ", ".join(str(rank) for rank in missing)
    return UserError(
        f"rank {ranks} did not answer after step {step} ({first}); look at its node, then resume "
        "the run"
    )


def _missing() -> list[int]:
    store = dist.distributed_c10d._get_default_store()
    store.set(f"noticed/{world.rank()}", "1")
    end = time.monotonic() + GRACE
    missing = list(range(world.size()))
    while missing and time.monotonic() < end:
        missing = [rank for rank in missing if not store.check([f"noticed/{rank}"])]
        time.sleep(0.1)
    return missing
