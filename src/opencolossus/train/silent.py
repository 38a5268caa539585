"""When a collective fails: which process did not answer."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import torch
import torch.distributed as dist

from opencolossus.specs.errors import UserError
from opencolossus.train import world

GRACE = 5.0
"""Seconds within which the processes that noticed a failure all say so."""

WORDS = ("gloo", "nccl", "tcpstore", "connection", "broken pipe")
"""In what PyTorch says where another process is the cause."""


class LostError(UserError):
    """Other processes are hung or gone: one of those that are left has to say so."""

    def __init__(self, text: str, missing: list[int]) -> None:
        super().__init__(text)
        left = [rank for rank in range(world.expected()) if rank not in missing]
        self.speaks = left[:1] == [world.given_rank()]


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


@contextmanager
def meeting() -> Iterator[None]:
    """The same for the time until the processes have found each other.

    Raises:
        UserError: they did not.
    """
    try:
        yield
    except (dist.DistError, ValueError) as error:
        # One who found the first process leaves it to that one to speak.
        alone = isinstance(error, dist.DistNetworkError) or world.is_first()
        raise LostError(
            f"the {world.expected()} processes of the run did not find each other "
            f"({_short(error)}); see that each of them was started, then start all of them again",
            [rank for rank in range(world.expected()) if alone and rank != world.given_rank()],
        ) from error


def _about_others(error: RuntimeError) -> bool:
    said = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in said for word in WORDS)


def who(error: Exception, when: str) -> LostError:
    """The sentence that names the processes that are hung or gone.

    Every process that notices says so in the common store; those that do not are the cause.
    """
    missing, first = _missing(), _short(error)
    if not missing:
        return LostError(f"processes lost each other {when} ({first}); resume the run", missing)
    ranks = ", ".join(str(rank) for rank in missing)
    return LostError(
        f"rank {ranks} did not answer {when} ({first}); look at its node, then resume the run",
        missing,
    )


def _short(error: Exception) -> str:
    """What PyTorch says, without the place in its code and the advice."""
    return re.sub(r"^\[[^\]]*\] *", "", str(error).splitlines()[0]).split(". ")[0]


def _missing() -> list[int]:
    """Ranks that say nothing in the store; whoever keeps it, if it says nothing either."""
    silent = list(range(world.size()))
    asked = Thread(target=_ask, args=(silent,), daemon=True)
    asked.start()
    asked.join(2 * GRACE)
    if world.rank() not in silent:
        return sorted(silent)
    kept_by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return [] if kept_by_torchrun or world.rank() == 0 else [0]


def _ask(silent: list[int]) -> None:
    """Take those who speak from ``silent``."""
    store = dist.distributed_c10d._get_default_store()
    end = time.monotonic() + GRACE
    with suppress(RuntimeError):
        store.set(f"noticed/{world.rank()}", "1")
        while silent and time.monotonic() < end:
            for rank in [rank for rank in silent if store.check([f"noticed/{rank}"])]:
                silent.remove(rank)
            time.sleep(0.1)
