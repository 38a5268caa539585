"""The fast swings of the largest plan: a few steps, and a stop, in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from opencolossus.power import swings
from opencolossus.power.caps import Array
from opencolossus.power.supply import present
from opencolossus.specs.sources import Battery, Solar
from opencolossus.twin.operating import Operating
from opencolossus.twin.scene import Played, Scene

STEPS = 4
STOP = 2.0
"""Seconds of the stop that is shown: a failure or a checkpoint that all GPUs wait for."""
MILLISECOND = 1e-3
SAMPLES = 20_000
"""Most samples of a trace; longer ones are coarser than a millisecond."""
FLOOR = 0.8
"""Dummy work that holds GPUs at this share of their cap, where it is asked what it would cost."""


def rhythm(scene: Scene, played: Played) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    """Swings of the plan with the most GPUs, and the trace; nothing where no plan ever ran.

    ``step_time`` in s; ``swing`` and ``stop`` in W between high and low within a step and at a
    stop; ``frequency`` in Hz and ``amplitude`` in W of the strongest component, ``critical`` the
    share of the swing's energy between 0.1 and 20 Hz; ``steepest`` in W/s over 100 ms; ``ramp`` in
    W/s that the site's sources can follow (None without a limit); ``absorb_power`` and
    ``absorb_energy`` that storage must take so that they need not follow more; ``dummy_power`` in W
    that dummy work would burn instead.
    """
    lit = played.job.sum(axis=0) * (played.powered.sum(axis=0) > 0)
    hour = int(np.argmax(lit))
    if lit[hour] == 0:
        return None, {}
    plan = played.epochs.plans[played.epochs.of_hour[hour]]
    cap = float(played.cap[hour])
    step = _step(plan)
    duration = (STEPS + 1) * sum(step) + STOP
    resolution = max(MILLISECOND, duration / SAMPLES)
    begin = STEPS * sum(step)
    quiet = _trace(scene, plan, cap, step, duration, resolution, ())
    power = _trace(scene, plan, cap, step, duration, resolution, ((begin, begin + STOP),))
    beat = swings.oscillation(quiet[: round(begin / resolution)], resolution)
    ramp = _ramp(scene, hour)
    result: dict[str, Any] = {
        "gpus": plan.total,
        "step_time": plan.step_time,
        "swing": swings.swing(quiet),
        "stop": swings.swing(power),
        "frequency": beat.frequency,
        "amplitude": beat.amplitude,
        "critical": beat.share,
        "steepest": swings.steepest(power, resolution, 0.1),
        "ramp": ramp,
        "absorb_power": 0.0,
        "absorb_energy": 0.0,
        "dummy_power": _dummy(scene, plan, cap, step, quiet, duration, resolution),
    }
    if ramp is not None:
        grid = swings.ramp_limited(power, resolution, ramp)
        taken = swings.absorbed(power, grid, resolution)
        result |= {"absorb_power": taken.power, "absorb_energy": taken.energy}
    time = np.arange(power.size, dtype=float) * resolution
    return result, {"time": time, "power": power}


def _step(plan: Operating) -> swings.Step:
    """Products, memory-bound work and the rest of a step, one after the other."""
    compute = (plan.compute + plan.memory) * plan.step_time
    talk = plan.communication * plan.step_time
    return swings.Step(compute, talk, max(plan.step_time - compute - talk, 0.0))


def _trace(
    scene: Scene,
    plan: Operating,
    cap: float,
    step: swings.Step,
    duration: float,
    resolution: float,
    stops: tuple[tuple[float, float], ...],
    floor: float = 0.0,
) -> Array:
    """IT power of all pools; storage and switches stay as they are."""
    total: Array | float = 0.0
    for name, gpus in plan.gpus.items():
        node = scene.cluster.pools[name].node
        nodes = gpus / node.gpus * (1 + scene.cluster.storage_share)
        watts = cap * node.gpu.tdp
        total = total + swings.trace(node, nodes, watts, step, duration, resolution, stops, floor)
    return np.asarray(total)


def _dummy(
    scene: Scene,
    plan: Operating,
    cap: float,
    step: swings.Step,
    quiet: Array,
    duration: float,
    resolution: float,
) -> float:
    """Mean W that dummy work up to ``FLOOR`` of the cap burns within steps."""
    smooth = _trace(scene, plan, cap, step, duration, resolution, (), FLOOR)
    return swings.dummy_energy(smooth, quiet, resolution) / duration


def _ramp(scene: Scene, hour: int) -> float | None:
    """W/s that the sources of that hour can follow together; None where one knows no limit."""
    total = 0.0
    for source in scene.site.power.values():
        if isinstance(source, Battery | Solar) or not present(source, scene.hours)[hour]:
            continue
        if source.ramp is None:
            return None
        total += source.ramp
    return total
