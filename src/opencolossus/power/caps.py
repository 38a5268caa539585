"""Power cap to clock to speed, for one GPU.

Dynamic power of CMOS is activity x capacitance x voltage² x frequency (Weste & Harris 2010,
eq. 5.10). Voltage stays at a floor up to a knee of the clock and rises linearly above it, as
measured on three NVIDIA generations by Guerreiro et al. (HPCA 2018, "GPGPU power modeling for
multi-domain voltage-frequency scaling"). With relative clock f and voltage v(f):

    P(f, a) = idle + [(ready - idle) + a (full - ready)] f v(f)²

Only ``idle``, what an empty GPU draws, follows no clock. ``ready`` is what a GPU draws that has a
process and nothing to do: its clock is at the top and its clock tree switches. 122 W on an H100
against 72 empty, 80 against 54 on an A100 (arXiv 2605.23918, which finds it set by the state of
voltage and frequency, not by memory in use), 192-196 on B200 (NVIDIA/TensorRT-LLM/issues/10278);
an H100 that waits at 1,005 instead of 1,980 MHz draws 74 instead of 124 W, and the power of matrix
products at locked clocks, drawn on to clock zero, is 56-82 W on A100, H100 and H200
(github.com/AyeshaAfzal91/GPU-Energy-Sweetspot).

The constants stand in ``Gpu.power_curve``, measured on V100, A100, H100 and B300 by the sources
that the catalog names. B200, GB200 and MI300X have an H100's, which is assumed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencolossus.specs.hardware import Gpu

Array = NDArray[np.float64]
Bound = Literal["compute", "memory", "communication"]

ASSUMED = {
    "gpu.power_curve": "cap to clock to speed is a law of voltage and frequency with constants "
    "from jobs on V100, A100, H100 and B300; other GPUs have an H100's"
}


def voltage(gpu: Gpu, clock: ArrayLike) -> Array:
    """Supply voltage relative to the top clock's, at relative ``clock`` in 0..1."""
    curve = gpu.power_curve
    slope = (1 - curve.voltage_floor) / (1 - curve.voltage_knee)
    rising = 1 - slope * (1 - np.asarray(clock, dtype=float))
    return np.maximum(curve.voltage_floor, rising)


def _clock_factor(gpu: Gpu, clock: ArrayLike) -> Array:
    return np.asarray(clock, dtype=float) * voltage(gpu, clock) ** 2


def gpu_power(gpu: Gpu, clock: ArrayLike, activity: ArrayLike) -> Array:
    """Power of one GPU in W at relative ``clock`` and ``activity``, its cap not yet applied.

    ``activity`` is the switching activity in 0..1: 1 for dense matrix products, 0 for waiting.
    """
    return np.asarray(gpu.idle_power + _dynamic(gpu, activity) * _clock_factor(gpu, clock))


def _dynamic(gpu: Gpu, activity: ArrayLike) -> Array:
    """What follows the clock, in W at the top clock: the clock tree and the work."""
    work = gpu.power_curve.full_power * gpu.tdp - gpu.ready_power
    return np.asarray(gpu.ready_power - gpu.idle_power + np.asarray(activity, dtype=float) * work)


def clock_at_cap(gpu: Gpu, cap: ArrayLike, activity: ArrayLike = 1.0) -> Array:
    """Highest relative clock at which ``activity`` stays within ``cap`` (W); 1 if nothing binds.

    Exact: below the knee power is linear in the clock, above it a cubic that Newton's method
    solves from its convex side.
    """
    curve = gpu.power_curve
    most = _dynamic(gpu, activity)
    room = np.clip(np.asarray(cap, dtype=float) - gpu.idle_power, 0, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        budget = np.where(most > 0, room / most, np.inf)
    low = budget / curve.voltage_floor**2
    slope = (1 - curve.voltage_floor) / (1 - curve.voltage_knee)
    target = np.minimum(budget, 1.0)
    clock = np.ones_like(target)
    for _ in range(8):  # f v² is convex and rising above the knee: each step comes from above
        v = 1 - slope * (1 - clock)
        clock = clock - (clock * v * v - target) / (v * v + 2 * slope * clock * v)
        clock = np.minimum(np.maximum(clock, curve.voltage_knee), 1.0)
    return np.where(low <= curve.voltage_knee, low, clock)


def activity_of(gpu: Gpu, bound: Bound) -> float:
    """Switching activity of work that is bound by matrix products, memory or communication."""
    curve = gpu.power_curve
    return {
        "compute": 1.0,
        "memory": curve.memory_activity,
        "communication": curve.communication_activity,
    }[bound]


def speed_at_clock(gpu: Gpu, clock: ArrayLike, bound: Bound = "compute") -> Array:
    """Speed at relative ``clock`` as a share of the speed at the top clock.

    Matrix products follow the clock; memory follows only below the knee where the chip can no
    longer issue enough requests; communication between servers does not.
    """
    clock = np.asarray(clock, dtype=float)
    if bound == "compute":
        return clock
    if bound == "memory":
        return np.minimum(1.0, clock / gpu.power_curve.memory_knee)
    return np.ones_like(clock)


def speed_at_cap(gpu: Gpu, cap: ArrayLike, bound: Bound = "compute") -> Array:
    """Speed under ``cap`` (W) as a share of the speed under the highest cap, ``gpu.tdp``.

    Peak rates of data sheets and measured throughput both come from GPUs at their highest cap,
    which throttles matrix products already; so speed is relative to that.
    """
    activity = activity_of(gpu, bound)
    capped = speed_at_clock(gpu, clock_at_cap(gpu, cap, activity), bound)
    top = speed_at_clock(gpu, clock_at_cap(gpu, gpu.tdp, activity), bound)
    return np.asarray(capped / top)
