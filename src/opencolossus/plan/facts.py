"""What the CPU at hand reaches, as measured, and kept for the next plan.

The trainer measures with PyTorch's own products and copies (`train.probe`); where PyTorch is not
installed, NumPy tells what it can.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic

MATRIX = 768
COPIED = 1 << 25
"""Bytes of the array that NumPy copies."""
BUDGET = 0.06
"""Seconds spent on each of NumPy's measurements."""


@dataclass(frozen=True)
class Facts:
    """Rates of one process with all its threads."""

    fp32: float
    """FLOP/s of large 32-bit matrix products."""
    bf16: float
    """The same in 16 bits."""
    copied: float
    """B/s that a copy of what no cache holds reads and writes."""
    sent: float | None = None
    """B/s that a process sends while all others do; None where it is alone."""
    start: float = 0.0
    """Seconds of a message without content between processes."""

    @property
    def gain(self) -> float:
        """Rate of 16-bit products over that of 32-bit ones."""
        return self.bf16 / self.fp32


def by_numpy() -> Facts:
    """Measured without PyTorch: NumPy has no 16-bit products and copies on one thread."""
    rate = matmul_rate()
    return Facts(rate, rate, copy_rate())


def has_compiler() -> bool:
    """Whether a C++ compiler is to be found, as PyTorch's inductor looks for one."""
    wanted = (os.environ.get("CXX") or "g++", "c++", "clang++")
    return any(shutil.which(name) for name in wanted)


def remembered() -> Facts | None:
    """What was measured last on this CPU; None if nothing was, or it cannot be read."""
    try:
        return Facts(**json.loads(_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def known() -> Facts:
    """What was measured last on this CPU, else what NumPy tells."""
    return remembered() or by_numpy()


def remember(facts: Facts) -> Facts:
    """Keep them for the next plan, where there is a place for that: the fastest ever seen.

    Other work at the time of measuring makes a machine look slower, and nothing faster.
    """
    before = remembered()
    if before is not None:
        best = {n: max(getattr(facts, n), getattr(before, n)) for n in ("fp32", "bf16", "copied")}
        kept = replace(facts, **best)
    else:
        kept = facts
    with contextlib.suppress(OSError, UserError):  # a plan then measures anew
        write_atomic(_file(), json.dumps(asdict(kept)) + "\n")
    return facts


def _file() -> Path:
    """By name and number of cores: the user's folder may lie on a server that others use too."""
    name = "".join(c if c.isalnum() else "-" for c in f"{cpu_name()}-{cores()}-{platform.node()}")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "opencolossus" / f"machine-{name}.json"


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name, as the system tells it, and whether it has Intel's matrix units.

    Virtual machines give processors of several generations one name.
    """
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        told = ""
    lines = (line.partition(":") for line in told.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name + (" with AMX" if "amx_bf16" in fields.get("flags", "").split() else "")


def memory() -> int:
    """Bytes that this process may use: the control group's limit, or the machine's memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(int(text), total)
    return total


def matmul_rate() -> float:
    """FLOP/s of 32-bit matrix products with all threads that NumPy uses: the best of a few."""
    size = MATRIX
    a = np.ones((size, size), dtype=np.float32)
    b = np.ones((size, size), dtype=np.float32)
    out = np.empty_like(a)
    return 2.0 * size**3 / fastest(lambda: np.matmul(a, b, out=out), BUDGET)


def copy_rate() -> float:
    """Bytes per second that a copy reads and writes."""
    source = np.ones(COPIED // 8)
    target = np.empty_like(source)
    return 2.0 * COPIED / fastest(lambda: np.copyto(target, source), BUDGET)


def fastest(work: Callable[[], object], budget: float) -> float:
    """Shortest time of ``work`` among as many runs as ``budget`` s allow, at least three."""
    best, start, runs = float("inf"), time.perf_counter(), 0
    while runs < 3 or time.perf_counter() - start < budget:
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        runs += 1
    return max(best, 1e-9)
