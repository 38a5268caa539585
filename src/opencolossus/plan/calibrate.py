"""Fitting the few constants that physics leaves open, by bounded least squares.

Residuals are logarithms of predicted over measured step time, under a soft-l1 loss so that a few
odd rows do not bend the rest. Each constant belongs to a GPU architecture, a kind of network or
an era of software, never to a row, a model or a source, and is held to a range and weakly to a
prior that would be believed without any measurement.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

PRIOR_WEIGHT = 0.35
"""Standard deviation, in logarithm of the constant, that pulls as hard as one row 10 % off."""
SCALE = 0.06
"""Residual at which the loss turns from square to linear."""


@dataclass(frozen=True)
class Constant:
    """One fitted number: where it stands in a calibration, its prior and its range."""

    path: tuple[str, ...]
    prior: float
    low: float
    high: float


GPU = {
    "matrix16": (0.72, 0.4, 0.85),
    "matrix8": (0.62, 0.3, 0.9),
    "matrix4": (0.5, 0.2, 0.9),
}
ERA = {
    "elementwise": (1.6, 0.8, 5.0),
    "routing": (2.0, 1.0, 12.0),
    "cast": (1.0, 0.2, 4.0),
    "gap": (2e-4, 1e-6, 3e-3),
    "expert_gap": (5e-4, 1e-6, 5e-3),
    "attention": (0.7, 0.25, 1.4),
    "tensor_overlap": (0.5, 0.02, 0.95),
    "expert_overlap": (0.2, 0.01, 0.7),
    "dispatch": (0.7, 0.3, 1.0),
    "gather": (0.8, 0.05, 1.0),
    "step_gap": (0.02, 1e-3, 0.5),
}
KNOWN_FABRICS = {"infiniband"}
"""Networks whose bandwidth under NCCL is published: 46-49 GB/s of a 400 Gbit/s port."""
COMMON = (
    "gather",
    "step_gap",
    "tensor_overlap",
    "dispatch",
    "expert_overlap",
    "expert_gap",
    "routing",
)
"""Constants that all eras share."""
OWN = {"bridge-2026": ("expert_gap", "routing")}
"""What an era has for itself all the same: since 2026 tokens are sorted in fused kernels."""
ALONE = ("deepspeed-2021", "torch-cpu")
"""Eras that do not: weight gathering of 2021 was another thing, and a CPU is."""
SHARED = {"link": (0.8, 0.7, 0.9), "jitter": (0.008, 1e-3, 0.02), "micro_scaling": (1.5, 1.0, 4.0)}


def constants(measured: Measured) -> list[Constant]:
    """The constants that these rows can tell something about."""
    found = [Constant((name,), *SHARED[name]) for name in SHARED]
    found += [Constant(("eras", "*", name), *ERA[name]) for name in COMMON]
    kinds = {(a, p) for a, p in zip(measured.architectures, measured.precisions, strict=True)}
    for architecture in sorted(set(measured.architectures)):
        names = ["matrix16"]
        names += ["matrix8"] if (architecture, "fp8") in kinds else []
        names += ["matrix4"] if (architecture, "fp4") in kinds else []
        found += [Constant(("gpus", architecture, name), *GPU[name]) for name in names]
    for kind in sorted(set(measured.fabrics) - KNOWN_FABRICS):
        found.append(Constant(("fabrics", kind), 0.9, 0.3, 1.05))
    sparse = np.asarray(measured.shape.experts) > 0
    for era in sorted(set(measured.eras)):
        mine = np.array([name == era for name in measured.eras])
        low = np.array([p != "bf16" for p in measured.precisions])
        names = ["elementwise", "gap", "attention"]
        names += ["cast"] if np.any(mine & low) else []
        names += ["gather"] if era in ALONE else []
        names += OWN.get(era, ()) if np.any(mine & sparse) else ()
        found += [Constant(("eras", era, name), *ERA[name]) for name in names]
    return found


def with_values(base: Calibration, known: Sequence[Constant], values: Array) -> Calibration:
    """A calibration with the constants ``known`` set to ``values``."""
    data: dict[str, Any] = base.model_dump()
    for constant, value in zip(known, values, strict=True):
        for place in _places(data, constant):
            place[constant.path[-1]] = float(value)
    return Calibration.model_validate(data)


def _places(data: dict[str, Any], constant: Constant) -> list[dict[str, Any]]:
    """The tables that hold a constant; ``*`` stands for all eras that it is not fitted for."""
    tables = [data]
    for step in constant.path[:-1]:
        if step == "*":
            tables = [t for table in tables for name, t in table.items() if name not in ALONE]
        else:
            tables = [table[step] for table in tables]
    return tables


def value_of(base: Calibration, constant: Constant) -> float:
    """The value of a constant in a calibration."""
    return float(_places(base.model_dump(), constant)[0][constant.path[-1]])


def fit(
    measured: Measured,
    base: Calibration,
    rows: NDArray[np.bool_] | None = None,
    start: Calibration | None = None,
    steps: int = 60,
) -> Calibration:
    """Fit all constants to the rows that ``rows`` selects (all by default)."""
    from scipy.optimize import least_squares

    keep = np.ones(len(measured), dtype=bool) if rows is None else rows
    known = constants(measured)
    prior = np.log([c.prior for c in known])
    low, high = np.log([c.low for c in known]), np.log([c.high for c in known])
    weights = row_weights(measured, keep)
    measured_log = np.log(measured.seconds)

    def residuals(x: Array) -> Array:
        predicted = measured.predict(with_values(base, known, np.exp(x))).time
        errors = (np.log(predicted) - measured_log)[keep] * weights[keep]
        return np.concatenate([errors, 0.1 * (x - prior) / PRIOR_WEIGHT * 0.3])

    first = prior if start is None else np.log([value_of(start, c) for c in known])
    first = np.clip(first, low + 1e-6, high - 1e-6)
    found = least_squares(
        residuals, first, bounds=(low, high), loss="soft_l1", f_scale=SCALE, max_nfev=steps
    )
    return with_values(base, known, np.exp(found.x))


def row_weights(measured: Measured, keep: NDArray[np.bool_]) -> Array:
    """Weight of each row: sources count by the square root of their number of rows."""
    names, index, count = np.unique(
        np.array(measured.sources)[:, None], return_inverse=True, return_counts=True, axis=0
    )
    del names
    weight = count[index.ravel()] ** -0.25
    return np.asarray(weight / np.mean(weight[keep]))


def stamped(
    fitted: Calibration, measured: Measured, table: Path, errors: Array, intervals: dict[str, float]
) -> Calibration:
    """Add the day, the table and the residuals of a fit."""
    digest = hashlib.sha256(table.read_bytes()).hexdigest()[:12]
    runs = {
        (a, m, float(g), round(float(t)))
        for a, m, g, t in zip(
            measured.architectures,
            measured.models,
            measured.layouts.gpus,
            measured.layouts.batch * measured.shape.sequence / measured.layouts.gpus,
            strict=True,
        )
    }
    return fitted.model_copy(
        update={
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "rows": len(measured),
            "sources": len(set(measured.sources)),
            "residual": float(np.median(np.abs(np.expm1(errors)))),
            "table": f"{table.name} sha256:{digest}",
            "interval": intervals,
            "measured": tuple(sorted(runs)),
        }
    )
