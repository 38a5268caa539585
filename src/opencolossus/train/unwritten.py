"""Why a checkpoint could not be written, and what is left."""

from __future__ import annotations

import errno
import math
import shutil
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from opencolossus.specs.errors import UserError

_NOTHING_LEFT = 1 << 20  # bytes of free disk


def unwritten(folder: Path, step: int, left: list[int], error: BaseException) -> UserError:
    """The sentence for a checkpoint that failed.

    Args:
        folder: of the checkpoints.
        left: steps of those that are there, the newest first.
    """
    cause = first_cause(error)
    intact = (
        f"the last intact one is {folder / f'step-{left[0]:08d}'}"
        if left
        else "there is none before it"
    )
    full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    # PyTorch's own writer only tells that its file is shorter than it should be.
    full = full or _free(folder) < _NOTHING_LEFT
    what = "the disk is full" if full else str(cause)
    return UserError(
        f"the checkpoint of step {step} cannot be written to {folder}: {what}; {intact}"
    )


def first_cause(error: BaseException) -> BaseException:
    """What a process ran into, of what PyTorch gathered from all."""
    if isinstance(error, CheckpointException) and error.failures:
        return next(iter(error.failures.values()))[0]
    return error


def _free(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # the folder is gone
        return math.inf
