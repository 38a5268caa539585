"""A process that puts a GPU's power limit back when another one ends, in whatever way.

A limit outlives the process that set it. Left behind by one that was killed, it would slow the GPU
for everybody, and nobody would know. So the limit comes back from a process that no signal for
the other one reaches: it waits for the end of its input, which comes with any death.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from opencolossus.specs.errors import UserError

READY = "ready"


@contextmanager
def kept(index: int, watts: float) -> Iterator[None]:
    """Give GPU ``index`` the limit of ``watts`` after the block.

    Raises:
        UserError: that cannot be promised, or did not succeed; the text names the limit.
    """
    command = [sys.executable, "-m", __name__, str(index), str(round(watts * 1e3))]
    pipe = subprocess.PIPE
    keeper = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert keeper.stdin is not None  # both are pipes
    assert keeper.stdout is not None
    said = keeper.stdout.readline().strip()
    try:
        if said != READY:
            raise UserError(f"GPU {index}: its power limit could not be put back later ({said})")
        yield
    finally:
        keeper.stdin.close()
        fault = keeper.stdout.read().strip()
        keeper.wait()
        if fault:
            raise UserError(
                f"GPU {index} did not get its power limit of {watts:g} W back ({fault}); "
                f"nvidia-smi -i {index} -pl {watts:g} sets it"
            )


def main(index: int, milliwatts: int) -> None:
    """Wait for the end of the input, then set the limit; say why where that fails."""
    import pynvml

    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        print(READY, flush=True)
        sys.stdin.read()
        if pynvml.nvmlDeviceGetPowerManagementLimit(gpu) != milliwatts:
            pynvml.nvmlDeviceSetPowerManagementLimit(gpu, milliwatts)
    except pynvml.NVMLError as error:
        print(f"NVML says {error}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
