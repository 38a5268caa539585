"""The description of a run small enough for a test, and what such a run leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opencolossus.specs import run_log
from opencolossus.specs.files import write_atomic

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""The environment of a run whose sums come in one order."""


class Gate:
    """How many steps a run in another process may take, so that it is there when it is killed."""

    def __init__(self, folder: Path, steps: int) -> None:
        self._file = folder / "gate"
        self.open(steps)
        path = [str(Path(__file__).parent / "gate"), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            "GATE": str(self._file),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
        }

    def open(self, steps: int = sys.maxsize) -> None:
        """Let it take so many steps, all without a number."""
        write_atomic(self._file, str(steps))


def small_run(
    tokens: int | str = 10240,
    every: int = 5,
    optimiser: str = "{name: muon, learning_rate: 1e-2}",
) -> str:
    """Two layers of experts, in fp32, with a checkpoint after ``every`` steps of 512 tokens."""
    return f"""
name: test
model: grok-micro
run:
  name: test
  data: {{path: corpus}}
  tokens: {tokens}
  batch: 512
  sequence: 64
  precision: fp32
  optimiser: {optimiser}
  checkpoint_every: {every}
"""


def events(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """What a run logged so far; nothing if it has not begun."""
    found = run_log.events(folder) if (folder / run_log.LOG).exists() else []
    return [event for event in found if kind in (None, event["event"])]


def losses(folder: Path) -> dict[int, float]:
    """Loss of every step; a step that was done twice counts as it went the last time."""
    return {event["step"]: event["loss"] for event in events(folder, "step")}


def last_step(folder: Path) -> int:
    """Steps that a run has done so far."""
    return max(losses(folder), default=0)


def saved(folder: Path) -> int:
    """Step of a run's newest whole checkpoint; 0 if there is none."""
    whole = (folder / "checkpoints").glob("step-*")
    return max((int(path.name.removeprefix("step-")) for path in whole), default=0)


def wait_while_it_runs(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something holds of a run that must not end before."""
    end = time.monotonic() + 240
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
