"""What the C library does with freed memory, counted in page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from opencolossus.train.allocator import keep_freed_memory

COUNT = """
import ctypes, resource, torch
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: every page is asked for by itself
torch.set_num_threads(1)
from opencolossus.train.allocator import keep_freed_memory
if {kept}:
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)  # 64 MB: beyond what glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(20):  # the C library needs some rounds to settle
    last = faults()
print(last)
"""


def again(kept: bool) -> int:
    """Page faults of a large tensor after many of its size were freed."""
    code = COUNT.format(kept=kept)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_memory_is_asked_for_once() -> None:
    if not keep_freed_memory():
        pytest.skip("not the GNU C library")
    assert again(kept=True) < again(kept=False) / 10
