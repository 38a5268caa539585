"""A run's folder belongs to one run at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from opencolossus.specs.errors import UserError

LOCK = ".lock"
LEASE = 120.0
"""Seconds after which a file server has forgotten the locks of a node that died (NFSv4: 90)."""


@contextmanager
def held(folder: Path, restarted: bool, warn: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs out of ``folder`` while the block runs; a killed process lets go at once.

    Args:
        restarted: a launcher started this after it had ended the one before, whose lock may still
            stand for a while if its node died: it is waited for, and then passed over.

    Raises:
        UserError: another process trains into the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--out {folder} is a file or lies in one; give a folder") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    with file:
        free = _take(file, LEASE if restarted else 0.0)
        if not free:
            said = f"{_owner(file)} is training into {folder}"
            if not restarted:
                raise UserError(f"{said}; wait for it, end it, or give another --out")
            warn(f"{said}, or its node died; going on, because this start replaces it")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _take(file: IO[str], wait: float) -> bool:
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.5)
        except OSError:
            return True  # a file system without locks cannot tell
        else:
            return True


def _owner(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
