"""The two errands of the command line with measurements: validate and calibrate."""

from __future__ import annotations

from pathlib import Path

from opencolossus.plan import accuracy, measured, memory_cases, rows
from opencolossus.plan import calibrate as fitting
from opencolossus.plan import unseen as kept_apart
from opencolossus.plan.accuracy import Progress
from opencolossus.plan.familiar import ADAPTERS, ELSEWHERE
from opencolossus.plan.measured import Measured
from opencolossus.plan.memory_cases import MemoryFindings
from opencolossus.plan.unseen import Unseen
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.errors import UserError
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array


def validate(
    table: Path | None, calibration: Path | None, quick: bool, progress: Progress | None = None
) -> tuple[Measured, Calibration, Array, Array | None, Array | None]:
    """Price a table; also with sources and collections left out of the fit.

    Raises:
        UserError: a file cannot be read, or no row can be priced.
    """
    constants = calibrations.read(calibration) if calibration else calibrations.shipped()
    found = _load(table, constants)
    errors = accuracy.log_errors(found, constants)
    if quick or table is not None:
        return found, constants, errors, None, None
    left_out = accuracy.leave_out(found, constants, found.sources, progress)
    collections = accuracy.leave_out(found, constants, found.families(), progress)
    return found, constants, errors, left_out, collections


def memory(constants: Calibration) -> MemoryFindings:
    """Price the shipped table of runs whose memory is known.

    Raises:
        UserError: the table cannot be read.
    """
    return memory_cases.findings(constants)


def unseen(constants: Calibration) -> Unseen:
    """Price the shipped table of runs that no constant was fitted to.

    Raises:
        UserError: the table cannot be read.
    """
    return kept_apart.findings(constants)


def calibrate(table: Path | None, quick: bool, progress: Progress | None = None) -> Calibration:
    """Fit all constants to a table, from their priors.

    Raises:
        UserError: a file cannot be read, or no row can be priced.
    """
    base = calibrations.shipped()
    path = table or rows.folder() / "throughput.csv"
    found = _load(path, base)
    fitted = fitting.fit(found, base)
    errors = accuracy.log_errors(found, fitted)
    made = fitting.stamped(fitted, found, accuracy.aspects(found), path, errors)
    if quick:
        return made
    left_out = accuracy.leave_out(found, fitted, found.sources, progress)
    intervals = accuracy.intervals(found, left_out)
    before = base.interval.get(ELSEWHERE, 1.0)
    intervals |= {ELSEWHERE: before}
    if table is None:
        adapters = left_out[accuracy.kinds(found) == ADAPTERS]
        intervals = unseen(made).widened(intervals, adapters)
        # rows whose recipes were read since can widen what strangers add, and not narrow it
        intervals[ELSEWHERE] = max(before, intervals[ELSEWHERE])
    return made.model_copy(update={"interval": intervals})


def _load(table: Path | None, constants: Calibration) -> Measured:
    folder = rows.folder()
    path = table or folder / "throughput.csv"
    found = measured.load(path, folder / "platforms.yaml", constants)
    if len(found) == 0:
        reasons = sorted({why for _, why in found.unusable})
        raise UserError(
            f"{path}: no row can be priced; for example {reasons[0] if reasons else ''}"
        )
    return found
