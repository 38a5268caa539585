"""Several processes of one run on this machine, started by one command; torchrun is for more."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

import torch

from opencolossus.specs.errors import UserError

GRACE = 30.0
"""Seconds that processes get to notice that one of them has failed, and to end by themselves."""
POLL = 0.2


def wanted(asked: int | None) -> int:
    """How many to start: as asked, else one for each GPU; 1 in a process that was started so.

    Raises:
        UserError: there are fewer GPUs.
    """
    if "RANK" in os.environ:
        return 1
    gpus = torch.cuda.device_count()
    if asked and gpus and asked > gpus:
        raise UserError(
            f"--processes {asked}: this machine has {gpus} GPUs; ask for {gpus} or less"
        )
    return asked or max(gpus, 1)


def start(processes: int, arguments: Sequence[str]) -> int:
    """Run ``colossus`` with these arguments in every process; the exit status of the run.

    Ctrl-C and SIGTERM reach each process once.
    """
    port = _free_port()
    children = [_child(rank, processes, port, arguments) for rank in range(processes)]

    def forward(number: int, frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {s: signal.signal(s, forward) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _child(
    rank: int, processes: int, port: int, arguments: Sequence[str]
) -> subprocess.Popen[bytes]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    threads = {"OMP_NUM_THREADS": str(max((cores or 1) // processes, 1))}
    return subprocess.Popen(
        [sys.executable, "-m", "opencolossus", *arguments],
        env=threads | dict(os.environ) | {name: str(value) for name, value in place.items()},
        start_new_session=True,  # a terminal's Ctrl-C then comes once, from here
    )


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """The status of the first process, or of one that failed where that did not."""
    failed_at: float | None = None
    while any(child.poll() is None for child in children):
        if failed_at is None and any(child.poll() for child in children):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > GRACE:
            break
        time.sleep(POLL)
    statuses = [child.poll() for child in children]
    found = statuses[0] or next((status for status in statuses if status), 0)
    return found if found >= 0 else 128 - found  # ended by a signal, as a shell says it


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
