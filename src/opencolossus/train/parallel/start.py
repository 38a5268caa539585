"""The processes of a run find each other."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

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
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    sizes = check(layout, model, run, processes)
    if not world.launched():
        return groups.alone()
    # Counts and objects go over gloo, tensors on GPUs over NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=timedelta(seconds=patience))
    return groups.build(sizes, dist.get_rank())
