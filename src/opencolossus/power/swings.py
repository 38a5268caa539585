"""Fast swings of a synchronous job: within a step, at checkpoints, when it stops.

All GPUs compute together and wait together, so the whole site swings at the rhythm of the step
(Choukse et al. 2025, "Power stabilization for AI training datacenters", arXiv 2508.14318). The
trace is sampled in milliseconds; filters stand for what smooths it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import activity_of
from opencolossus.power.demand import gpu_power_at_cap, node_power
from opencolossus.specs.hardware import Node

Array = NDArray[np.float64]


class Step(NamedTuple):
    """Seconds of one step in each kind of work, in the order in which they happen."""

    compute: float
    communication: float
    idle: float = 0.0
    """Pipeline bubble, waiting for the slowest."""


def trace(
    node: Node,
    nodes: float,
    cap: float,
    step: Step,
    duration: float,
    resolution: float = 1e-3,
    stops: tuple[tuple[float, float], ...] = (),
    floor: float = 0.0,
) -> Array:
    """Power in W of ``nodes`` servers at the wall every ``resolution`` s for ``duration`` s.

    Args:
        cap: power cap of each GPU in W.
        stops: (begin, end) in s of checkpoints or failures, in which GPUs are idle.
        floor: GPUs never draw less than this share of ``cap``; dummy work fills the gaps.
    """
    gpu = node.gpu
    time = np.arange(round(duration / resolution)) * resolution
    at = np.mod(time, sum(step))
    power = np.full(time.shape, gpu.idle_power)
    communicating = (at >= step.compute) & (at < step.compute + step.communication)
    power[at < step.compute] = gpu_power_at_cap(gpu, cap, 1.0)
    power[communicating] = gpu_power_at_cap(gpu, cap, activity_of(gpu, "communication"))
    for begin, end in stops:
        power[(time >= begin) & (time < end)] = gpu.idle_power
    power = np.maximum(power, floor * cap)
    return np.asarray(nodes * node_power(node, power))


def swing(power: Array) -> float:
    """Difference in W between the highest and the lowest power of a trace."""
    return float(power.max() - power.min())


def steepest(power: Array, resolution: float, window: float = 1.0) -> float:
    """Fastest change in W/s over any ``window`` s of a trace."""
    stride = max(round(window / resolution), 1)
    if power.size <= stride:
        return float(abs(power[-1] - power[0]) / (resolution * max(power.size - 1, 1)))
    return float(np.abs(power[stride:] - power[:-stride]).max() / (stride * resolution))


def ramp_limited(power: Array, resolution: float, ramp: float) -> Array:
    """What a source that changes by at most ``ramp`` W/s can follow of a trace."""
    most = ramp * resolution
    followed = np.empty_like(power)
    level = float(power[0])
    for i, wanted in enumerate(power.tolist()):
        level += min(max(wanted - level, -most), most)
        followed[i] = level
    return followed


class Absorbed(NamedTuple):
    """What storage must do so that the grid sees only its own ramp."""

    power: float
    """Highest power in or out, W."""
    energy: float
    """Difference between the fullest and the emptiest moment, J."""


def absorbed(power: Array, grid: Array, resolution: float) -> Absorbed:
    """Power and energy that a battery or capacitor carries between ``power`` and ``grid``."""
    difference = power - grid
    stored = np.concatenate([[0.0], np.cumsum(difference) * resolution])
    return Absorbed(float(np.abs(difference).max()), float(stored.max() - stored.min()))


def dummy_energy(smooth: Array, plain: Array, resolution: float) -> float:
    """Energy in J that dummy work burns beyond the plain trace."""
    return float((smooth - plain).clip(min=0).sum() * resolution)
