"""How far a prediction can be trusted: its interval, and the nearest measured run."""

from __future__ import annotations

import math

from opencolossus.plan.plan import Interval
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.software import Calibration, OwnRuns

PER_DOUBLING = 0.05
"""Widening of an interval's half-width for each doubling of GPUs beyond the nearest measured run
(assumed: the table has few runs above 4,096 GPUs)."""
UNMEASURED = 1.5
"""Exponent of the interval for a GPU that nobody measured a training run on (assumed)."""
WIDEST = 2.0
"""Where a calibration tells no interval."""
REACH = 4.0
"""A run with up to four times the GPUs of the nearest measured one, and the tokens of the longest
measured sequence, does not count as extrapolated."""


def interval(
    calibration: Calibration,
    gpu: str,
    software: str,
    experts: bool,
    gpus: int,
    tokens: float,
    sequence: float,
    step_time: float,
) -> Interval:
    """The 90 % interval of a step time on ``gpus`` GPUs with ``tokens`` per GPU and step.

    It is that of rows left out of the fit where ``software`` was measured, and the architecture at
    such a size; else that of rows which no fit ever knew.
    """
    own = calibration.own_runs
    if own is not None and gpu.startswith("CPU"):
        return _own(own, gpu, gpus, step_time)
    kind = "experts" if experts else "dense"
    architecture, _, known = calibrations.reach_of(calibration, gpu)
    runs = [run for run in calibration.measured if run[0] == architecture]
    if not known or not runs:
        wide = calibration.interval.get(f"{kind} far", WIDEST) ** UNMEASURED
        return Interval(
            low=step_time / wide,
            high=step_time * wide,
            nearest=f"none on {gpu}",
            extrapolates=True,
        )

    def distance(run: tuple[str, str, float, float, float, str]) -> float:
        return abs(math.log2(gpus / run[2])) + 0.25 * abs(math.log2(max(tokens, 1.0) / run[3]))

    nearest = min(runs, key=distance)
    doublings = max(math.log2(gpus / nearest[2]), 0.0)
    longest = max(run[4] for run in runs)
    extrapolates = gpus > REACH * nearest[2] or sequence > REACH * longest
    far = extrapolates or software not in {run[5] for run in calibration.measured}
    base = calibration.interval.get(f"{kind} far" if far else kind, WIDEST)
    wide = base ** (1 + PER_DOUBLING * doublings)
    text = f"{nearest[1]} on {nearest[2]:,.0f} GPUs ({architecture})"
    return Interval(
        low=step_time / wide, high=step_time * wide, nearest=text, extrapolates=extrapolates
    )


def _own(own: OwnRuns, cpu: str, processes: int, step_time: float) -> Interval:
    """Of runs on CPUs; wider on another processor than the one that they were measured on."""
    wide, known = own.several if processes > 1 else own.alone, cpu.endswith(own.cpu)
    wide = wide if known else wide**UNMEASURED
    return Interval(
        low=step_time / wide,
        high=step_time * wide,
        nearest=f"{own.runs} short runs on {own.cpu}",
        extrapolates=not known,
    )
