"""The constants of the machine at hand from one's own runs.

Every run on a CPU logs what the machine reached at its start and in which mode it ran, so that it
can be priced again. What products and memory reach, and what the trainer's mode costs, are held to
their former values by weak priors and fitted to the usual step of each run by least squares in
logarithms, as the constants of other machines are.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opencolossus.plan.logged import Logged, read
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.errors import UserError
from opencolossus.specs.software import Calibration, OwnRuns
from opencolossus.step.columns import Array

MOST = 4.0
"""Largest error that is believed; more than that is a wrong model or a shared machine."""
NOISE = 0.05
"""Standard deviation of a run's usual step, as a logarithm: a machine that nobody else uses."""
ENOUGH = 8
"""Runs of a kind from which an interval can be told."""
COVERED = 0.9
REACH = {"matrix16": (0.15, 1.0), "memory": (0.3, 2.0)}
"""Constants of the CPU: spread of the logarithm around the former value, and the largest value."""
MODE = {
    "elementwise": (0.7, 40.0),
    "routing": (0.7, 60.0),
    "attention": (0.7, 1.5),
    "gap": (0.7, 2e-2),
    "expert_gap": (0.7, 2e-2),
}
"""The same of the trainer's mode (`specs.software.Era`)."""


class Known(NamedTuple):
    """One constant that runs tell something about: where it stands, its spread, its bound."""

    kind: str
    owner: str
    name: str
    spread: float
    highest: float


def from_runs(base: Calibration, folders: Sequence[Path]) -> Calibration:
    """``base`` with the constants of CPUs and of the trainer's modes as ``folders`` took them.

    Raises:
        UserError: a folder is no run on a CPU, has too few steps, or is far off.
    """
    from scipy.optimize import least_squares

    runs = [read(folder) for folder in folders]
    for run in runs:
        _believable(run, base)
    known = _constants(base, runs)
    prior = np.log([_value(base, one) for one in known])
    spread = np.array([one.spread for one in known])
    highest = np.log([one.highest for one in known])

    def residuals(x: Array) -> Array:
        made = _with(base, known, x)
        errors = np.array([run.error(made) for run in runs])
        return np.concatenate([errors / NOISE, (x - prior) / spread])

    start = np.minimum(prior, highest - 1e-6)
    found = least_squares(residuals, start, bounds=(-30.0, highest), x_scale=spread, max_nfev=30)
    fitted = _with(base, known, found.x)
    account = _account(runs, found.fun, found.jac)
    if account is None:
        return fitted
    others = [one for one in base.own_runs if one.cpu != account.cpu]
    return fitted.model_copy(update={"own_runs": (*others, account)})


def _believable(run: Logged, base: Calibration) -> None:
    ratio = float(np.exp(run.error(base)))
    if not 1 / MOST <= ratio <= MOST:
        raise UserError(
            f"{run.folder}: predicted {ratio * run.seconds:.3g} s and measured {run.seconds:.3g} s "
            f"a step differ more than {MOST:g} times; was the machine shared?"
        )


def _constants(base: Calibration, runs: Sequence[Logged]) -> list[Known]:
    names = {run.cluster.pools["here"].node.gpu.name for run in runs}
    chips = sorted({calibrations.reach_of(base, name)[0] for name in names})
    known = [Known("gpus", chip, name, *held) for chip in chips for name, held in REACH.items()]
    for era in sorted({run.software.era for run in runs}):
        known += [Known("eras", era, name, *held) for name, held in MODE.items()]
    return known


def _value(base: Calibration, one: Known) -> float:
    return float(getattr(getattr(base, one.kind)[one.owner], one.name))


def _with(base: Calibration, known: Sequence[Known], x: Array) -> Calibration:
    """The constants set to exp(x); products of all widths reach the same on a CPU."""
    tables: dict[str, dict[str, Any]] = {"gpus": dict(base.gpus), "eras": dict(base.eras)}
    for one, value in zip(known, np.exp(x), strict=True):
        names = ("matrix16", "matrix8", "matrix4") if one.name == "matrix16" else (one.name,)
        owner = tables[one.kind][one.owner]
        changed = owner.model_copy(update=dict.fromkeys(names, float(value)))
        tables[one.kind][one.owner] = changed
    return base.model_copy(update=tables)


def _account(runs: Sequence[Logged], residuals: Array, jacobian: Array) -> OwnRuns | None:
    """Intervals from the error of each run if it had been left out of the fit.

    To first order that is e / (1 - h), with h the run's entry on the diagonal of the hat matrix
    J (J^T J)^-1 J^T (Allen 1974, "The relationship between variable selection and data
    augmentation"). Nothing where runs of a kind are too few: what was there before stays.
    """
    hat = np.einsum("ij,ji->i", jacobian, np.linalg.pinv(jacobian))[: len(runs)]
    left_out = NOISE * np.abs(residuals[: len(runs)]) / np.maximum(1 - hat, 0.05)
    widths = []
    for many in (False, True):
        mine = left_out[[(run.processes > 1) == many for run in runs]]
        if mine.size < ENOUGH:
            return None
        widths.append(float(np.exp(np.quantile(mine, COVERED))))
    return OwnRuns(
        cpu=runs[0].cpu,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        runs=len(runs),
        alone=widths[0],
        several=widths[1],
    )
