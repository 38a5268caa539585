"""Power cap to clock to speed, for one GPU.

Dynamic power of CMOS is activity x capacitance x voltage² x frequency (Weste & Harris 2010,
eq. 5.10). Voltage stays at a floor up to a knee of the clock and rises linearly above it, as
measured on three NVIDIA generations by Guerreiro et al. (HPCA 2018, "GPGPU power modeling for
multi-domain voltage-frequency scaling"). With relative clock f and voltage v(f):

    P(f, a) = ready + a (full - ready) f v(f)²

``ready`` is what a GPU draws that has a process and nothing to do. It does not follow the clock
and is far more than an empty GPU draws: 53 of 300 W on a V100 (zai-org/GLM-130B/issues/32 on
GitHub), 129-137 of 700 W on H100 (NVIDIA/nccl/issues/1550), 192-196 of 1,000 W on B200
(NVIDIA/TensorRT-LLM/issues/10278): 18-19 % of the rated power on all three.

The constants stand in ``Gpu.power_curve``. Knee and floor are assumed, typical of Hopper;
``full`` follows from an H100 that throttles from 1,980 to 1,575 MHz under its 700 W limit while it
multiplies matrices (github.com/deepseek-ai/DeepGEMM/issues/120).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencolossus.specs.hardware import Gpu

Array = NDArray[np.float64]
Bound = Literal["compute", "memory", "communication"]

ASSUMED = {
    "gpu.power_curve": "cap to clock to speed is a law of voltage and frequency with assumed "
    "constants; no curve of H100 training against its cap has been published"
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
    dynamic = np.asarray(activity, dtype=float) * _most_dynamic(gpu)
    return np.asarray(gpu.ready_power + dynamic * _clock_factor(gpu, clock))


def _most_dynamic(gpu: Gpu) -> float:
    """What matrix products at the top clock add to a GPU that is ready, in W."""
    return gpu.power_curve.full_power * gpu.tdp - gpu.ready_power


def clock_at_cap(gpu: Gpu, cap: ArrayLike, activity: ArrayLike = 1.0) -> Array:
    """Highest relative clock at which ``activity`` stays within ``cap`` (W); 1 if nothing binds.

    Exact: below the knee power is linear in the clock, above it a cubic that Newton's method
    solves from its convex side.
    """
    curve = gpu.power_curve
    most = np.asarray(activity, dtype=float) * _most_dynamic(gpu)
    room = np.clip(np.asarray(cap, dtype=float) - gpu.ready_power, 0, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        budget = np.where(most > 0, room / most, np.inf)
    low = budget / curve.voltage_floor**2
    slope = (1 - curve.voltage_floor) / (1 - curve.voltage_knee)
    target = np.minimum(budget, 1.0)
    clock = np.ones_like(target)
    for _ in range(8):  # f v² is convex and rising above the knee: each step comes from above
        v = 1 - slope * (1 - clock)
        clock = clock - (clock * v * v - target) / (v * v + 2 * slope * clock * v)
        clock = np.clip(clock, curve.voltage_knee, 1.0)
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
