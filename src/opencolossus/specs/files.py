"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencolossus.specs.errors import UserError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``, and move it there when the block ends well.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=".part"
        )
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from None
    os.close(handle)
    part = Path(name)
    try:
        yield part
        flush(part)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, target)
        flush(target.parent)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def write_atomic(target: Path, content: str | bytes) -> None:
    """Write a whole file, or leave what was there.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(target) as part:
        part.write_bytes(data)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk is full or gone.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
