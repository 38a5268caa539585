"""Folders that are either whole or not there, and made by one process at a time."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencolossus.specs.errors import UserError


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``target`` when the block ends well."""
    for left_by_a_kill in target.parent.glob(f".{target.name}.*.part"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield part
        part.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time prepares a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    with stream:
        yield
