"""Energy that GPUs have drawn, read from their driver (NVML, extra ``gpu``)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from opencolossus.train import world
from opencolossus.train.parallel.collectives import all_sum
from opencolossus.train.parallel.groups import Group


class Meter(Protocol):
    """Counts the energy of the device of this process."""

    def joules(self) -> float:
        """Energy since a moment in the past that stays the same."""
        ...


class Counter:
    """The GPU's own counter of energy (Volta and newer)."""

    def __init__(self, nvml: Any, gpu: Any) -> None:
        self._nvml, self._gpu = nvml, gpu
        self._read()  # an older GPU refuses here

    def joules(self) -> float:
        """Energy since the driver was loaded; NaN if it does not answer any more."""
        try:
            return self._read()
        except self._nvml.NVMLError:
            return math.nan

    def _read(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1e3


class Integral:
    """Power times time, for a GPU that does not count: the trapezoid between two readings."""

    def __init__(self, nvml: Any, gpu: Any, clock: Callable[[], float]) -> None:
        self._nvml, self._gpu, self._clock = nvml, gpu, clock
        self._sum, self._at, self._power = 0.0, clock(), self._watts()

    def joules(self) -> float:
        """Energy since this was made; NaN once the driver does not answer any more."""
        now, power = self._clock(), self._watts()
        self._sum += (now - self._at) * (power + self._power) / 2
        self._at, self._power = now, power
        return self._sum

    def _watts(self) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self._gpu)) / 1e3
        except self._nvml.NVMLError:
            return math.nan


class Energy:
    """Energy of the devices of all processes.

    Args:
        meter: of this process's device, if it has one.
        group: all processes.
        device: where sums over processes are taken.
    """

    def __init__(self, meter: Meter | None, group: Group, device: torch.device) -> None:
        # A sum over some of the processes would be taken for one over all.
        self._meter = meter if all(world.gather(meter is not None)) else None
        self._group, self._device = group, device
        self._before = self._meter.joules() if self._meter else 0.0
        self.total: float | None = 0.0
        """J, in all that ``spent`` told; None from the first step whose energy is not known."""

    def spent(self) -> float | None:
        """J since the last call, or None; every process calls this alike."""
        if self._meter is None:
            return None
        now = self._meter.joules()
        mine = torch.tensor(now - self._before, dtype=torch.float64, device=self._device)
        self._before = now
        found = float(all_sum(mine, self._group))
        if not math.isfinite(found):
            self.total = None
            return None
        if self.total is not None:
            self.total += found
        return found


def meter(device: torch.device) -> Meter | str | None:
    """What counts the energy of ``device``; None on a CPU, or why a GPU cannot be read."""
    if device.type != "cuda":
        return None
    # CUDA_VISIBLE_DEVICES renumbers GPUs, but not their UUIDs.
    return of_gpu(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def of_gpu(uuid: str) -> Meter | str:
    """What counts the energy of the GPU with this UUID, or why it cannot be read."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return "power is not read: pip install 'opencolossus[gpu]'"
    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        try:
            return Counter(pynvml, gpu)
        except pynvml.NVMLError_NotSupported:
            return Integral(pynvml, gpu, time.monotonic)
    except pynvml.NVMLError as error:
        return f"power is not read: NVML says {error}"
