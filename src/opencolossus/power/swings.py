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
    """Mean idle time of a GPU: the pipeline's bubble, waiting for the slowest."""

    @property
    def computing(self) -> float:
        """Seconds in which some stage of the pipeline computes."""
        return self.compute + self.idle


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
        stops: (begin, end) in s in which no process runs and GPUs are idle, not only waiting.
        floor: GPUs never draw less than this share of ``cap``; dummy work fills the gaps.
    """
    gpu = node.gpu
    time = np.arange(round(duration / resolution)) * resolution
    at = np.mod(time, sum(step))
    busy = _busy(step, at)
    talking = (at >= step.computing).astype(float)
    running = np.ones_like(time)
    for begin, end in stops:
        running[(time >= begin) & (time < end)] = 0.0
    level = {
        "work": gpu_power_at_cap(gpu, cap, 1.0),
        "talk": gpu_power_at_cap(gpu, cap, activity_of(gpu, "communication")),
        "wait": np.asarray(gpu.ready_power),
        "idle": np.asarray(gpu.idle_power),
    }
    each = {name: node_power(node, np.maximum(watts, floor * cap)) for name, watts in level.items()}
    rest = 1 - busy - talking
    work = busy * each["work"] + talking * each["talk"] + rest * each["wait"]
    return np.asarray(nodes * (running * work + (1 - running) * each["idle"]))


def _busy(step: Step, at: Array) -> Array:
    """Share of the GPUs that compute ``at`` s into the step.

    Stages of a pipeline begin and end one after another, so the share climbs while the pipeline
    fills and falls while it drains; a backward pass takes twice a forward pass, so draining takes
    twice as long (Narayanan et al. 2021, arXiv 2104.04473, figure 4). Straight lines whose mean
    is the share that is not idle; never all at once where the bubble exceeds the work.
    """
    if step.idle <= 0:
        return np.asarray((at < step.computing).astype(float))
    sides = min(2 * step.idle, step.computing)
    top = min(1.0, 2 * step.compute / step.computing)
    fill, drain = sides / 3, 2 * sides / 3
    corners = [0.0, fill, step.computing - drain, step.computing]
    return np.asarray(np.interp(at, corners, [0.0, top, top, 0.0], right=0.0))


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


class Oscillation(NamedTuple):
    """The rhythm of a trace as the grid feels it."""

    frequency: float
    """Of the strongest component, Hz."""
    amplitude: float
    """Of that component, from the mean to its peak, W."""
    share: float
    """Of the swing's energy that lies in the critical band."""


CRITICAL = (0.1, 20.0)
"""Band in Hz in which utilities limit oscillations: modes between plants, torsion of shafts
(Choukse et al. 2025, arXiv 2508.14318, section on utility specifications)."""


def oscillation(power: Array, resolution: float) -> Oscillation:
    """Strongest component of a trace over whole steps, and its share in the critical band."""
    parts = np.abs(np.fft.rfft(power - power.mean()))
    frequencies = np.fft.rfftfreq(power.size, resolution)
    energy = float((parts**2).sum())
    if energy <= 0:
        return Oscillation(0.0, 0.0, 0.0)
    inside = (frequencies >= CRITICAL[0]) & (frequencies <= CRITICAL[1])
    strongest = int(parts.argmax())
    return Oscillation(
        float(frequencies[strongest]),
        float(2 * parts[strongest] / power.size),
        float((parts[inside] ** 2).sum()) / energy,
    )


def dummy_energy(smooth: Array, plain: Array, resolution: float) -> float:
    """Energy in J that dummy work burns beyond the plain trace."""
    return float((smooth - plain).clip(min=0).sum() * resolution)
