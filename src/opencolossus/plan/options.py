"""What people type after ``colossus plan``, read or refused in one sentence."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from opencolossus.specs import calibration as calibrations
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.software import Calibration
from opencolossus.specs.units import POWER
from opencolossus.specs.written import UnitError, parse
from opencolossus.step.layouts import SCHEDULES


def parse_day(text: str | None) -> date | None:
    """A date like 2024-09-15.

    Raises:
        UserError: it is none.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UserError(f"--day {text!r} is not a date; write it like 2024-09-15") from None


def parse_power(text: str | None) -> float | None:
    """A power like ``43 MW`` in W.

    Raises:
        UserError: it is none, or not above 0.
    """
    if text is None:
        return None
    try:
        value = parse(text, POWER)
    except UnitError as error:
        raise UserError(f"--power: {error}") from None
    if value <= 0:
        raise UserError(f"--power must be above 0, not {text!r}; write it like '43 MW'")
    return value


def parse_schedules(text: str) -> tuple[str, ...]:
    """Names of pipeline schedules, separated by commas, or ``all``.

    Raises:
        UserError: one is unknown.
    """
    if text == "all":
        return tuple(SCHEDULES)
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise UserError(
                f"--schedules: no {name!r}{did_you_mean(name, SCHEDULES)}; known: {known}"
            )
    return names or ("1f1b",)


def read_calibration(path: Path | None) -> Calibration | None:
    """A user's own constants, if given.

    Raises:
        UserError: the file is missing or damaged.
    """
    return None if path is None else calibrations.read(path)
