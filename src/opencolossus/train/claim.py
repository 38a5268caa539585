"""A run's folder: begun, gone on with, or refused before anything in it is changed."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic
from opencolossus.train import world
from opencolossus.train.console import Progress
from opencolossus.train.fields import differences

DESCRIPTION = "description.json"
TOKENIZER = "tokenizer.json"
LASTING = ("optimiser.name", "precision")
"""Fields of ``run`` that stay what they are."""


def claim(folder: Path, description: Description, resume: bool, progress: Progress) -> None:
    """Make ``folder`` the run's own, or see that it holds a run to go on with.

    A launcher that starts the same command again after a failure means to go on.

    Raises:
        UserError: it holds a run already and ``resume`` was not asked for, or holds none to
            resume, or one of another optimiser or precision, or cannot be written.
    """
    known = folder / DESCRIPTION
    if world.restarted():
        resume = known.exists()
    if (folder / TOKENIZER).exists() and not resume:  # else it failed before it began
        raise UserError(
            f"{folder} holds a run already; go on with it by --resume, or give another --out"
        )
    if resume and not known.exists() and not (folder / TOKENIZER).exists():
        raise UserError(f"{folder} holds no run to resume; leave --resume out to start one")
    if resume:
        _compare(_read(known), description, progress)
    else:
        describe(folder, description)


def describe(folder: Path, description: Description) -> None:
    """Keep what the run now is; of a resumed one not before its checkpoint was found to fit."""
    write_atomic(folder / DESCRIPTION, description.model_dump_json(indent=1) + "\n")


def _read(path: Path) -> Description:
    try:
        return Description.model_validate_json(path.read_bytes())
    except (ValidationError, OSError):
        raise UserError(
            f"{path} is damaged or missing; put a sound copy there, or start anew with another "
            "--out"
        ) from None


def _compare(before: Description, now: Description, progress: Progress) -> None:
    """Tell what has changed in ``run``, and refuse what the checkpoint cannot follow."""
    old, new = before.run.model_dump(mode="json"), now.run.model_dump(mode="json")
    for path, was, value in differences(old, new):
        if path in LASTING:
            raise UserError(
                f"run.{path} is {value}, but the run began with {was}, for which its checkpoints "
                f"are; set it to {was}, or give a new --out"
            )
        progress.note(f"changed since the run began: run.{path}: {was} -> {value}")
