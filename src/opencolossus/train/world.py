"""The processes of one run: alone, or as torchrun started them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from opencolossus.specs.errors import UserError
from opencolossus.train.fields import flat

T = TypeVar("T")
SIGN_OF_LIFE = 2.0
"""Seconds between the words of a process that the others wait for."""
WORKING, DONE = "\0working", "\0done"


def expected() -> int:
    """How many processes torchrun (or srun with its variables) started; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return given_rank() == 0


def given_rank() -> int:
    """Number that this process was started with, known before it joins the others."""
    return int(os.environ.get("RANK", "0"))


def restarted() -> bool:
    """Whether torchrun, Slurm or a JobSet starts this process anew after a failure."""
    counts = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT", "JOBSET_RESTART_ATTEMPT")
    return any(int(os.environ.get(name) or "0") > 0 for name in counts)


def started() -> bool:
    """Whether the processes talk to each other."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if started() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if started() else 1


def neighbours() -> int:
    """How many of them are on this machine, this one included; all, where nobody says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or size())


@contextmanager
def leaving() -> Iterator[None]:
    """Leave the other processes when the block ends, if they were joined in it.

    Without that PyTorch's threads outlive what they use: one process in fifty aborts when all is
    done. Not after a failure on GPUs, where NCCL would wait for those that are gone.
    """
    before, failed = started(), True
    try:
        yield
        failed = False
    finally:
        if started() and not before and not (failed and torch.cuda.is_available()):
            dist.destroy_process_group()


def gather(value: T) -> list[T]:
    """The value of every process, in order of rank, at every process."""
    values = [value] * size()
    if size() > 1:
        dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """The value of rank 0, at every process."""
    box = [value]
    if size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def most(values: list[float]) -> list[float]:
    """The largest of each value over all processes: what they agree on."""
    if size() == 1:
        return values
    numbers = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    found: list[float] = numbers.tolist()
    return found


def agree_on(value: dict[str, Any], what: str) -> None:
    """Make sure that every process has the same ``value``.

    Raises:
        UserError: it differs; the text names the first field that does, and the ranks.
    """
    values = [flat(found) for found in gather(value)]
    first = values[0]
    others = [r for r, found in enumerate(values) if found != first]
    if not others:
        return
    theirs = values[others[0]]
    names = [n for n in {**first, **theirs} if first.get(n) != theirs.get(n)]
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    ranks = ", ".join(str(r) for r in others)
    raise UserError(
        f"{what} of rank {ranks} is not that of rank 0: {names[0]} is {theirs.get(names[0])} "
        f"there and {first.get(names[0])} at rank 0{more}; give every node the same"
    )


def first_does(work: Callable[[], T]) -> T | None:
    """Let rank 0 do something that the others wait for; its mistake is everybody's.

    However long that takes, a corpus to be read for hours: the others hear now and then that it
    goes on, and so do not give it up.

    Returns:
        What the work gave at rank 0, None elsewhere.

    Raises:
        UserError: rank 0 ran into it.
    """
    if size() == 1:
        return work()
    if rank() == 0:
        future: Future[T] = Future()
        # A daemon, or Ctrl-C would wait for the work.
        Thread(target=_fulfil, args=(future, work), daemon=True).start()
        while not wait([future], timeout=SIGN_OF_LIFE).done:
            from_first(WORKING)
        error = future.exception()
        from_first(str(error) if error else DONE)
        return future.result()
    while (said := from_first(WORKING)) == WORKING:
        pass
    if said != DONE:
        raise UserError(said)
    return None


def _fulfil(promise: Future[T], work: Callable[[], T]) -> None:
    try:
        promise.set_result(work())
    except BaseException as error:
        promise.set_exception(error)
