"""Saves the second checkpoint of a run again and again, killed at each of its acts on files.

Run as a program; prints, for every act, the step that is sound after the kill there.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencolossus.train.checkpoint import Store

ACTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}


def tensors(step: int) -> dict[str, Tensor]:
    return {"weights.a": torch.full((64, 64), float(step)), "adamw.a": torch.ones(7) * step}


def save(folder: Path, step: int) -> None:
    store = Store(folder, print)
    store.save(step, tensors(step), {"step": step})
    store.wait()
    store.close()


def die_at(last: int, folder: Path) -> None:
    """Let this process be killed before its ``last``-th act on a file in ``folder``."""
    count = 0

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in ACTS and str(folder) in str(arguments[0]):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)


def killed(folder: Path, last: int) -> bool:
    """Save step 3 in a process that is killed at its ``last``-th act; False if it had fewer."""
    child = os.fork()
    if child == 0:
        die_at(last, folder)
        save(folder, 3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def sound(folder: Path) -> int:
    """The newest sound step, once its tensors and state were read."""
    store = Store(folder, print)
    step = store.newest_sound()
    assert step is not None
    found = {name: torch.zeros_like(tensor) for name, tensor in tensors(step).items()}
    store.read_into(step, found)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors(step).items())
    assert store.state(step) == {"step": step}
    return step


def main() -> None:
    torch.set_num_threads(1)
    origin = Path(sys.argv[1])
    for step in (1, 2):
        save(origin / "before", step)
    last, more = 0, True
    while more:
        last += 1
        folder = origin / f"killed-{last}"
        shutil.copytree(origin / "before", folder)
        more = killed(folder, last)
        step = sound(folder)
        save(folder, 4)  # what was left over is in nobody's way
        assert sound(folder) == 4
        assert {path.name for path in (folder / "checkpoints").iterdir()} == {
            f"step-{number:08d}" for number in (step, 4)
        }
        print(step, flush=True)


if __name__ == "__main__":
    main()
