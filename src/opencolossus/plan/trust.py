"""How far a prediction can be trusted: its interval, and the nearest measured run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from opencolossus.plan.familiar import Aspects, measured_before, width
from opencolossus.plan.plan import Interval
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.hardware import is_cpu
from opencolossus.specs.software import Calibration, MeasuredRun, OwnRuns

PER_DOUBLING = 0.05
"""Widening of an interval's half-width for each doubling of GPUs beyond the nearest measured run
(assumed: the table has few runs above 4,096 GPUs)."""
UNMEASURED = 1.5
"""Exponent of the interval for a GPU that nobody measured a training run on (assumed)."""
REACH = 4.0
"""A run with up to four times the GPUs of the nearest measured one, and the tokens of the longest
measured sequence, does not count as extrapolated."""


def interval(
    calibration: Calibration, gpu: str, run: Aspects, gpus: int, tokens: float, step_time: float
) -> Interval:
    """The 90 % interval of a step time on ``gpus`` GPUs with ``tokens`` per GPU and step.

    It is the wider, the more of ``run`` was never measured (`plan.familiar`), and widens with each
    doubling of GPUs beyond the nearest measured run.
    """
    if calibration.own_runs and is_cpu(gpu):
        return _own(calibration.own_runs, gpu, gpus, step_time)
    _, _, known = calibrations.reach_of(calibration, gpu)
    runs = [one for one in calibration.measured if one.architecture == run.architecture]
    news = measured_before(calibration).news(run)
    half = math.exp(width(calibration.interval, run.kind, len(news)))
    if not known or not runs:
        wide = half**UNMEASURED
        return Interval(
            low=step_time / wide,
            high=step_time * wide,
            nearest=f"none on {gpu}",
            extrapolates=True,
        )

    def distance(one: MeasuredRun) -> float:
        apart = abs(math.log2(max(tokens, 1.0) / one.tokens))
        return abs(math.log2(gpus / one.gpus)) + 0.25 * apart

    nearest = min(runs, key=distance)
    doublings = max(math.log2(gpus / nearest.gpus), 0.0)
    longest = max(one.sequence for one in runs)
    extrapolates = gpus > REACH * nearest.gpus or run.sequence > REACH * longest
    wide = half ** (1 + PER_DOUBLING * doublings)
    text = f"{nearest.model} on {nearest.gpus:,.0f} GPUs ({run.architecture})"
    text += "; never measured: " + ", ".join(news) if news else ""
    return Interval(
        low=step_time / wide, high=step_time * wide, nearest=text, extrapolates=extrapolates
    )


def _own(accounts: Sequence[OwnRuns], cpu: str, processes: int, step_time: float) -> Interval:
    """Of runs on CPUs; wider on another processor than those that they were measured on."""
    same = [one for one in accounts if cpu.endswith(one.cpu)]
    known = bool(same)

    def half(one: OwnRuns) -> float:
        return one.several if processes > 1 else one.alone

    own = max(same or accounts, key=half)
    wide = half(own) if known else half(own) ** UNMEASURED
    return Interval(
        low=step_time / wide,
        high=step_time * wide,
        nearest=f"{own.runs} short runs on {own.cpu}",
        extrapolates=not known,
    )
