"""Fitting the few constants that physics leaves open, by bounded least squares.

Residuals are logarithms of predicted over measured step time, under a soft-l1 loss so that a few
odd rows do not bend the rest. Each constant is held to its range and weakly to its prior.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan.constants import Constant, constants, holds_for, value_of, with_values
from opencolossus.plan.familiar import Aspects
from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration, MeasuredRun
from opencolossus.step.columns import Array

PULL = 0.06
"""Residual of a row that pulls as hard as a constant one spread off its prior: rows of a source
err together, so that a hundred of them tell less than a hundred."""
SCALE = 0.06
"""Residual at which the loss turns from square to linear."""
STEP = 1e-4
"""Change of a constant's logarithm in the derivatives."""
CLOSE = 1e-4
"""Relative change at which a fit has arrived."""


def fit(
    measured: Measured,
    base: Calibration,
    rows: NDArray[np.bool_] | None = None,
    start: Calibration | None = None,
    steps: int = 60,
) -> Calibration:
    """Fit all constants to the rows that ``rows`` selects (all by default)."""
    from scipy.optimize import least_squares

    known = constants(measured)
    keep = np.arange(len(measured)) if rows is None else np.flatnonzero(rows)
    problem = Problem(measured.take(keep), base, known)
    low, high = np.log([c.kind.low for c in known]), np.log([c.kind.high for c in known])
    first = problem.prior if start is None else np.log([value_of(start, c) for c in known])
    found = least_squares(
        problem.residuals,
        np.clip(first, low + 1e-6, high - 1e-6),
        jac=problem.jacobian,
        bounds=(low, high),
        loss="soft_l1",
        f_scale=SCALE,
        max_nfev=steps,
        ftol=CLOSE,
        xtol=CLOSE,
    )
    return with_values(base, known, np.exp(found.x))


class Problem:
    """Residuals of a fit, and their derivatives by the logarithm of each constant.

    A row depends on the constants of its own GPU, network and software only, so constants that
    share no row are moved together (Curtis, Powell & Reid 1974), and all moves are priced in one
    call of the law.
    """

    def __init__(self, measured: Measured, base: Calibration, known: Sequence[Constant]) -> None:
        self.rows = [holds_for(c, measured) for c in known]
        self.names = [c.name for c in known]
        self.prior = np.log([c.kind.prior for c in known])
        self.pull = PULL / np.array([c.kind.spread for c in known])
        self.values = measured.values(base)
        self.measured = measured
        self.log = np.log(measured.seconds)
        self.weight = row_weights(measured)
        self.groups = _apart(self.rows)
        self.tiled = measured.take(np.tile(np.arange(len(measured)), len(self.groups)))

    def at(self, x: Array) -> dict[str, Array]:
        """The constants of each row where the fitted ones are exp(x)."""
        values = {name: column.copy() for name, column in self.values.items()}
        for name, rows, value in zip(self.names, self.rows, np.exp(x), strict=True):
            values[name][rows] = value
        return values

    def residuals(self, x: Array) -> Array:
        """Weighted errors of all rows, then the pull of the priors."""
        errors = np.log(self.measured.cost(self.at(x)).time) - self.log
        return np.concatenate([errors * self.weight, self.pull * (x - self.prior)])

    def jacobian(self, x: Array) -> Array:
        """Derivatives of the residuals, by forward differences."""
        moved = [self.at(x + STEP * np.isin(np.arange(x.size), group)) for group in self.groups]
        joined = {name: np.concatenate([m[name] for m in moved]) for name in self.values}
        before = np.log(self.measured.cost(self.at(x)).time)
        after = np.log(self.tiled.cost(joined).time).reshape(len(self.groups), -1)
        matrix = np.zeros((before.size + x.size, x.size))
        for group, change in zip(self.groups, (after - before) / STEP * self.weight, strict=True):
            for i in group:
                matrix[: before.size, i] = np.where(self.rows[i], change, 0.0)
        matrix[before.size :] = np.diag(self.pull)
        return matrix


def _apart(rows: Sequence[NDArray[np.bool_]]) -> list[list[int]]:
    """Groups of constants that share no row, found greedily."""
    groups: list[list[int]] = []
    taken: list[NDArray[np.bool_]] = []
    for i, mine in enumerate(rows):
        free = next((g for g, used in enumerate(taken) if not np.any(used & mine)), None)
        if free is None:
            groups.append([i])
            taken.append(mine.copy())
        else:
            groups[free].append(i)
            taken[free] |= mine
    return groups


def row_weights(measured: Measured) -> Array:
    """Weight of each row: sources count by the square root of their number of rows."""
    _, index, count = np.unique(measured.sources, return_inverse=True, return_counts=True)
    weight = count[index.ravel()] ** -0.25
    return np.asarray(weight / np.mean(weight))


def stamped(
    fitted: Calibration,
    measured: Measured,
    aspects: Sequence[Aspects],
    table: Path,
    errors: Array,
) -> Calibration:
    """Add the day, the table and the residuals of a fit."""
    digest = hashlib.sha256(table.read_bytes()).hexdigest()[:12]
    tokens = measured.layouts.batch * measured.shape.sequence / measured.layouts.gpus
    runs = {
        MeasuredRun(
            model=measured.models[i],
            gpus=float(measured.layouts.gpus[i]),
            tokens=round(float(tokens[i])),
            **one._asdict(),
        )
        for i, one in enumerate(aspects)
    }
    return fitted.model_copy(
        update={
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "rows": len(measured),
            "sources": len(set(measured.sources)),
            "residual": float(np.median(np.abs(np.expm1(errors)))),
            "table": f"{table.name} sha256:{digest}",
            "measured": tuple(sorted(runs)),
        }
    )
