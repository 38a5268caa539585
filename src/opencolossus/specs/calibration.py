"""Reading and writing the fitted constants."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic
from opencolossus.specs.software import Calibration, GpuReach


@cache
def shipped() -> Calibration:
    """The constants that come with the package."""
    text = (files("opencolossus.specs") / "catalog" / "calibration.json").read_text("utf-8")
    return Calibration.model_validate_json(text)


def read(path: Path) -> Calibration:
    """A calibration that ``colossus calibrate`` wrote.

    Raises:
        UserError: the file is missing, torn, or not a calibration.
    """
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path} is not a calibration: {field}: {first['msg']}") from None


def write(path: Path, calibration: Calibration) -> None:
    """Write a calibration whole or not at all."""
    write_atomic(path, calibration.model_dump_json(indent=1) + "\n")


def reach_of(calibration: Calibration, gpu: str) -> tuple[str, GpuReach, bool]:
    """Architecture of a GPU by its name, what it reaches, and whether it was ever measured.

    A GPU that no architecture claims takes the constants of ``hopper`` and counts as unmeasured.
    """
    for name, reach in calibration.gpus.items():
        if re.search(reach.gpus, gpu, re.IGNORECASE):
            return name, reach, True
    return "unknown", calibration.gpus["hopper"], False
