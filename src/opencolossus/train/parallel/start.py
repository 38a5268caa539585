"""The processes of a run find each other."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run
from opencolossus.train import world
from opencolossus.train.parallel import groups
from opencolossus.train.parallel.layout import check

PATIENCE = 600.0
"""Seconds after which a process that does not answer is given up."""


def device() -> torch.device:
    """The device of this process: its own GPU where there are any, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def start(layout: Layout, model: Model, run: Run, patience: float = PATIENCE) -> groups.Groups:
    """Check the layout and join the other processes, if there are others.

    Raises:
        UserError: the layout cannot train the model on this number of processes.
    """
    sizes = check(layout, model, run, world.expected())
    if world.expected() == 1:
        return groups.alone()
    # Counts and objects go over gloo, tensors on GPUs over NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=timedelta(seconds=patience), **_meeting(patience))
    return groups.build(sizes, dist.get_rank(), timedelta(seconds=patience))


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
