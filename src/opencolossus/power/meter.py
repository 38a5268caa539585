"""Read power and clocks of a GPU through NVML, at several power limits where that is allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np

from opencolossus.power import keeper
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
        """Lowest and highest power limit in W.

        Raises:
            PermissionError: it has no limit that can be set.
        """
        ...

    def limit(self, watts: float) -> None:
        """Set the power limit.

        Raises:
            PermissionError: the user may not.
        """
        ...

    def kept(self) -> AbstractContextManager[None]:
        """The limit in force now is so again after the block, however that ends."""
        ...


class Nvml:
    """The GPU with one index on this machine.

    Raises:
        UserError: the library, the driver or the GPU is not there, now or at any later time.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            import pynvml
        except ImportError:
            raise UserError(
                "reading GPUs needs nvidia-ml-py: pip install 'opencolossus[gpu]'"
            ) from None
        self._nvml, self._index = pynvml, index
        try:
            pynvml.nvmlInit()
            self._gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            raise self._gone(error) from None

    def read(self) -> Reading:
        """Power, clock and limit now."""
        nvml = self._nvml
        try:
            return Reading(
                nvml.nvmlDeviceGetPowerUsage(self._gpu) / 1e3,
                nvml.nvmlDeviceGetClockInfo(self._gpu, nvml.NVML_CLOCK_SM) * 1e6,
                nvml.nvmlDeviceGetPowerManagementLimit(self._gpu) / 1e3,
            )
        except nvml.NVMLError as error:
            raise self._gone(error) from None

    def allowed(self) -> tuple[float, float]:
        """Lowest and highest power limit in W."""
        low, high = self._limits(self._nvml.nvmlDeviceGetPowerManagementLimitConstraints)
        return low / 1e3, high / 1e3

    def limit(self, watts: float) -> None:
        """Set the power limit."""
        self._limits(self._nvml.nvmlDeviceSetPowerManagementLimit, round(watts * 1e3))

    def kept(self) -> AbstractContextManager[None]:
        """The limit in force now comes back, even where this process is killed."""
        return keeper.kept(self._index, self.read().limit)

    def _limits(self, function: Callable[..., Any], *arguments: int) -> Any:
        nvml = self._nvml
        try:
            return function(self._gpu, *arguments)
        except (nvml.NVMLError_NoPermission, nvml.NVMLError_NotSupported) as error:
            raise PermissionError(str(error)) from None
        except nvml.NVMLError as error:
            raise self._gone(error) from None

    def _gone(self, error: Exception) -> UserError:
        return UserError(f"GPU {self._index} cannot be read: NVML says {error}")


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
    readings: list[Reading] = []
    try:
        low, high = meter.allowed()
        with meter.kept():
            for watts in np.linspace(high, low, limits):
                meter.limit(float(watts))
                (sleep or time.sleep)(settle)
                readings += observe(meter, seconds / limits, sleep=sleep)
    except PermissionError:
        return observe(meter, seconds, sleep=sleep), False
    return readings, True


def busy(readings: Sequence[Reading], top_clock: float) -> tuple[Array, Array]:
    """Relative clock and power of the readings in which the GPU was at work, [N] each.

    At work means within a tenth of the limit in force: there the limit, not the work, decides.
    """
    chosen = [r for r in readings if r.power >= 0.9 * r.limit]
    clock = np.array([r.clock / top_clock for r in chosen])
    return clock, np.array([r.power for r in chosen])
