"""When a collective fails: which process did not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from opencolossus.specs.errors import UserError
from opencolossus.train import world

GRACE = 5.0
"""Seconds within which the processes that noticed a failure all say so."""


WORDS = ("gloo", "nccl", "tcpstore", "connection", "broken pipe")
"""In what PyTorch says where another process is the cause."""


@contextmanager
def named(when: Callable[[], str]) -> Iterator[None]:
    """Turn what PyTorch raises about other processes, or memory, into one sentence.

    Args:
        when: how far this process had come, as in ``after step 7``.

    Raises:
        UserError: another process is hung or gone, or the device's memory does not suffice.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU's memory does not suffice ({str(error).splitlines()[0]}); lower "
            "run.layout.micro_batch, set run.layout.recompute to full, or run.layout.zero to 3"
        ) from error
    except RuntimeError as error:
        if world.size() == 1 or not _about_others(error):
            raise
        raise who(error, when()) from error


def _about_others(error: RuntimeError) -> bool:
    said = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in said for word in WORDS)


def who(error: Exception, when: str) -> UserError:
    """The sentence that names the processes that are hung or gone.

    Every process that notices says so in the common store; those that do not are the cause.
    """
    try:
        missing = _missing()
    except (RuntimeError, dist.DistError):
        missing = []
    first = str(error).splitlines()[0]
    if not missing:
        return UserError(f"processes lost each other {when} ({first}); resume the run")
    ranks = ", ".join(str(rank) for rank in missing)
    return UserError(
        f"rank {ranks} did not answer {when} ({first}); look at its node, then resume the run"
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
