"""The processes of a run find each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout
from opencolossus.train import world
from opencolossus.train.machine import measure
from opencolossus.train.parallel import float8, groups
from opencolossus.train.parallel.check import check
from opencolossus.train.parallel.choose import choose, is_open, told

PATIENCE = 600.0
"""Seconds after which a process that does not answer is given up."""


def device() -> torch.device:
    """The device of this process: its own GPU where there are any, else the CPU.

    Raises:
        UserError: the node has fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= gpus:
        raise UserError(
            f"process {index + 1} of this node has no GPU: there are {gpus}; start at most {gpus} "
            f"processes on each node (torchrun --nproc-per-node {gpus})"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def connect(patience: float = PATIENCE) -> None:
    """Join the other processes, if there are others."""
    if world.expected() == 1 or dist.is_initialized():
        return
    # Counts and objects go over gloo, tensors on GPUs over NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=patience), **_meeting(patience))


def start(
    description: Description,
    asked: str | None,
    patience: float,
    tell: Callable[[str], None],
) -> tuple[Layout, groups.Groups]:
    """Agree with all processes on what to do, and on a layout to do it in.

    Args:
        asked: what ``--layout`` says.
        patience: seconds after which a process that does not answer is given up.

    Raises:
        UserError: the processes mean different things, the layout cannot train the model on this
            number of processes, or the device cannot compute in the precision.
    """
    model, run, processes = description.model, description.run, world.expected()
    world.agree_on(description.model_dump(mode="json"), "the description")
    world.agree_on({"--layout": asked}, "the command")

    if run.precision == "fp8":
        float8.check(device())
    machine = None
    if is_open(run, asked, processes):
        machine = measure(device())
    chosen = world.first_does(lambda: choose(description, asked, processes, machine))
    layout, why = world.from_first(chosen or (Layout(), ""))
    sizes = check(layout, model, run, processes)
    if processes == 1:
        return layout, groups.alone()
    tell(told(layout, why, processes))
    return layout, groups.build(sizes, dist.get_rank(), timedelta(seconds=patience))


def _meeting(patience: float) -> dict[str, Any]:
    """Where the processes meet, if torchrun keeps the place.

    Its store outlives a restart, with the addresses of processes that are dead by then; each
    attempt therefore has its own names in it.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    wait = timedelta(seconds=patience)
    store = TCPStore(address, port, is_master=False, timeout=wait)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return {
        "store": PrefixStore(f"attempt-{attempt}", store),
        "rank": int(os.environ["RANK"]),
        "world_size": world.expected(),
    }
