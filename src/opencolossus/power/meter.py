"""Read power and clocks of a GPU through NVML, at several power limits where that is allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from opencolossus.power.caps import Array
from opencolossus.specs.errors import UserError


class Reading(NamedTuple):
    """One look at a GPU."""

    power: float
    """W."""
    clock: float
    """Of the multiprocessors, Hz."""
    limit: float
    """Power limit in force, W."""


class Meter(Protocol):
    """A GPU that can be read, and perhaps be limited."""

    def read(self) -> Reading: ...

    def allowed(self) -> tuple[float, float]:
        """Lowest and highest power limit in W."""
        ...

    def limit(self, watts: float) -> None:
        """Set the power limit.

        Raises:
            PermissionError: the user may not.
        """
        ...


class Nvml:
    """The GPU with one index on this machine.

    Raises:
        UserError: the library, the driver or the GPU is not there.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            import pynvml
        except ImportError:
            raise UserError(
                "reading GPUs needs nvidia-ml-py: pip install 'opencolossus[gpu]'"
            ) from None
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            raise UserError(f"GPU {index} cannot be read: {error}") from None

    def read(self) -> Reading:
        """Power, clock and limit now."""
        nvml = self._nvml
        return Reading(
            nvml.nvmlDeviceGetPowerUsage(self._gpu) / 1e3,
            nvml.nvmlDeviceGetClockInfo(self._gpu, nvml.NVML_CLOCK_SM) * 1e6,
            nvml.nvmlDeviceGetPowerManagementLimit(self._gpu) / 1e3,
        )

    def allowed(self) -> tuple[float, float]:
        """Lowest and highest power limit in W."""
        low, high = self._nvml.nvmlDeviceGetPowerManagementLimitConstraints(self._gpu)
        return low / 1e3, high / 1e3

    def limit(self, watts: float) -> None:
        """Set the power limit."""
        try:
            self._nvml.nvmlDeviceSetPowerManagementLimit(self._gpu, round(watts * 1e3))
        except self._nvml.NVMLError as error:
            raise PermissionError(str(error)) from None


def observe(
    meter: Meter,
    seconds: float,
    period: float = 0.1,
    sleep: Callable[[float], None] | None = None,
) -> list[Reading]:
    """Readings every ``period`` s for ``seconds`` s while something else keeps the GPU busy."""
    readings, pause = [], sleep or time.sleep
    for _ in range(max(round(seconds / period), 1)):
        readings.append(meter.read())
        pause(period)
    return readings


def sweep(
    meter: Meter,
    seconds: float,
    limits: int = 8,
    settle: float = 2.0,
    sleep: Callable[[float], None] | None = None,
) -> tuple[list[Reading], bool]:
    """Observe at ``limits`` power limits for ``seconds`` s in all; the old limit comes back.

    Returns the readings, and whether limits could be changed: where the user may not, the GPU is
    observed as it runs.
    """
    before = meter.read().limit
    low, high = meter.allowed()
    readings: list[Reading] = []
    each, changed = seconds / limits, False
    try:
        for watts in np.linspace(high, low, limits):
            try:
                meter.limit(float(watts))
            except PermissionError:
                return observe(meter, seconds, sleep=sleep), False
            changed = True
            (sleep or time.sleep)(settle)
            readings += observe(meter, each, sleep=sleep)
    finally:
        if changed:
            meter.limit(before)
    return readings, True


def busy(readings: Sequence[Reading], top_clock: float) -> tuple[Array, Array]:
    """Relative clock and power of the readings in which the GPU was at work, [N] each.

    At work means within a tenth of the limit in force: there the limit, not the work, decides.
    """
    chosen = [r for r in readings if r.power >= 0.9 * r.limit]
    clock = np.array([r.clock / top_clock for r in chosen])
    return clock, np.array([r.power for r in chosen])
