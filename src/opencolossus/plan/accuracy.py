"""How right the law is on published runs, those that it was not fitted to included.

Errors are relative, predicted over measured step time less one. Leave-one-source-out refits all
constants without one source (a document: one results page, paper table or README) and predicts
it; leave-one-collection-out does so without everything that one publisher's collection holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import calibrate
from opencolossus.plan.familiar import ADAPTERS, DENSE, EXPERTS, KINDS, Aspects
from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

COVERED = 0.90
FEWEST = 20
"""Rows below which a class of rows takes its interval from all rows."""
FITS = 0.98
"""Share of rows that ran and must fit in memory by the law."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Summary:
    """Errors of some rows."""

    name: str
    rows: int
    median: float
    mean: float
    p90: float
    bias: float


def log_errors(measured: Measured, calibration: Calibration) -> Array:
    """Logarithm of predicted over measured step time of every row."""
    return np.asarray(np.log(measured.predict(calibration).time / measured.seconds))


def summary(name: str, errors: Array) -> Summary:
    """Median, mean and 90th percentile of absolute errors, and the mean signed error."""
    relative = np.expm1(errors)
    size = np.abs(relative)
    return Summary(
        name,
        int(errors.size),
        float(np.median(size)),
        float(np.mean(size)),
        float(np.quantile(size, 0.9)),
        float(np.mean(relative)),
    )


def grouped(errors: Array, groups: Sequence[str]) -> list[Summary]:
    """A summary for each group, in order of names."""
    names = np.array(groups)
    return [summary(str(name), errors[names == name]) for name in sorted(set(groups))]


def leave_out(
    measured: Measured,
    base: Calibration,
    groups: Sequence[str],
    progress: Progress | None = None,
) -> Array:
    """Errors of each group's rows by constants fitted to all other groups."""
    names = np.array(groups)
    errors = np.empty(len(measured))
    for name in sorted(set(groups)):
        keep = names != name
        if progress:
            progress(str(name))
        fitted = calibrate.fit(measured, base, rows=keep, start=base)
        errors[~keep] = log_errors(measured, fitted)[~keep]
    return errors


def kinds(measured: Measured) -> NDArray[np.str_]:
    """Class of each row that shares an interval: dense models, models with experts, adapters."""
    kind = np.where(np.asarray(measured.shape.experts) > 0, EXPERTS, DENSE)
    return np.where(np.asarray(measured.shape.trained) < 1, ADAPTERS, kind)


def aspects(measured: Measured) -> list[Aspects]:
    """What the interval of each row depends on."""
    columns = (
        measured.architectures,
        [software.name for software in measured.software],
        measured.eras,
        [str(kind) for kind in kinds(measured)],
        measured.precisions,
        measured.shape.sequence.tolist(),
        measured.shape.experts.tolist(),
        measured.shape.experts_per_token.tolist(),
        measured.shape.expert_feed_forward.tolist(),
    )
    return [Aspects(*row) for row in zip(*columns, strict=True)]


def half_width(errors: Array) -> float:
    """Ratio that covers nine of ten rows with these errors (split conformal prediction, Vovk et
    al. 2005: the ceil((n+1) 0.9)-th smallest)."""
    rank = min(int(np.ceil((errors.size + 1) * COVERED)), errors.size)
    return float(np.exp(np.sort(np.abs(errors))[rank - 1]))


def intervals(measured: Measured, left_out: Array) -> dict[str, float]:
    """Half-width by class from sources left out; all rows tell that of a class with few."""
    found = {}
    for kind in KINDS:
        mine = kinds(measured) == kind
        chosen = mine if mine.sum() >= FEWEST else np.ones(len(measured), dtype=bool)
        found[kind] = half_width(left_out[chosen])
    return found


def coverage(measured: Measured, errors: Array, groups: Sequence[str]) -> float:
    """Share of rows within an interval that was set by the other groups' errors alone."""
    names, of = np.array(groups), kinds(measured)
    inside = np.zeros(len(measured), dtype=bool)
    for name in set(groups):
        mine = names == name
        for kind in KINDS:
            rows = mine & (of == kind)
            others = ~mine & (of == kind)
            if not rows.any():
                continue
            if others.sum() < FEWEST:
                others = ~mine
            inside[rows] = np.abs(errors[rows]) <= np.log(half_width(errors[others]))
    return float(np.mean(inside))


def memory_fit(measured: Measured, calibration: Calibration) -> tuple[float, tuple[str, ...]]:
    """Share of rows whose source says what it recomputed that fit by the law, and the others."""
    used = measured.memory(calibration).total
    checked = measured.told_recompute
    over = checked & (used > measured.base_machine.memory)
    names = tuple(
        f"{measured.keys[i]} ({used[i] / measured.base_machine.memory[i]:.0%})"
        for i in np.flatnonzero(over)
    )
    return 1 - float(over.sum()) / max(float(checked.sum()), 1.0), names


def worst(errors: Array, count: int) -> NDArray[np.intp]:
    """Indices of the largest absolute errors, worst first."""
    return np.argsort(-np.abs(errors))[:count]
