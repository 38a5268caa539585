"""The learning rate over a run, as a share of its highest value."""

from __future__ import annotations

import math

from opencolossus.specs.run import Schedule


def factor(schedule: Schedule, progress: float) -> float:
    """Share of the highest learning rate at ``progress`` (0 at the first step, 1 at the end).

    Cosine: Loshchilov and Hutter 2017, eq. 5. Warmup-stable-decay: Hu et al. 2024 (MiniCPM),
    section 4.3, here with a linear decay. The first step of a warm-up is small but never zero.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < schedule.warmup:
        return max(progress / schedule.warmup, 1e-3)
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "cosine":
        rest = (progress - schedule.warmup) / max(1.0 - schedule.warmup, 1e-12)
        return schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * rest))
    return _stable_then_linear(schedule, progress)


def _stable_then_linear(schedule: Schedule, progress: float) -> float:
    left = 1.0 - progress
    if schedule.decay == 0.0 or left >= schedule.decay:
        return 1.0
    return schedule.final + (1.0 - schedule.final) * left / schedule.decay


def progress(seen: int, tokens: int, elapsed: float, time_limit: float | None) -> float:
    """How far a run is: by tokens, or by time (s) where a limit on it is nearer.

    A limit on time makes the rate of a step depend on the clock, so only runs without one repeat
    to the bit.
    """
    by_tokens = seen / tokens
    return by_tokens if time_limit is None else max(by_tokens, elapsed / time_limit)
