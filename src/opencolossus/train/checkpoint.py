"""Checkpoints: sharded, atomic, checksummed, verified before they are trusted.

``checkpoints/step-00000100/`` holds one ``.distcp`` file per process (PyTorch's own distributed
format, readable on any other layout), ``state.json`` and ``SHA256SUMS``. A folder under its final
name is whole: it is written as ``.step-00000100.part`` and renamed when every byte is on disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import flush
from opencolossus.train import manifest, world
from opencolossus.train.unwritten import first_cause, unwritten

KEEP = 2
"""Checkpoints kept: the newest, and one to fall back on."""
STATE = "state.json"
_NAME = re.compile(r"step-(\d{8,})")


class Store:
    """The checkpoints of one run.

    Args:
        folder: of the run.
        warn: told of damaged checkpoints.
        patience: seconds after which a process that does not answer is given up.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None], patience: float = 600.0) -> None:
        self.folder = folder / "checkpoints"
        self.warn = warn
        # Said by PyTorch for every save of a single process, where nothing is wrong.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        # Writing goes on beside training, so its messages need a group of their own.
        self._group = None
        if world.size() > 1:
            self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience))

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take a copy of everything now and write it in the background.

        Raises:
            UserError: the checkpoint before this one could not be written.
        """
        self.wait()
        part = self._begin(step)
        staged = {name: _copy(tensor) for name, tensor in tensors.items()}
        self._pending = self._writer.submit(self._write, part, step, staged, state)

    def wait(self) -> None:
        """Wait until the last save is on disk.

        Raises:
            UserError: it could not be written; the one before it is intact.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """End the writing thread."""
        self._writer.shutdown(wait=True)

    def steps(self) -> list[int]:
        """Steps of all checkpoints under a final name, newest first."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted((int(match.group(1)) for match in names if match), reverse=True)

    @staticmethod
    def any_in(folder: Path) -> bool:
        """Whether the run of a folder has a checkpoint, sound or not."""
        return any((folder / "checkpoints").glob("step-*"))

    def newest_sound(self, at_most: int | None = None) -> int | None:
        """Step of the newest checkpoint that passes its checksums; says which ones do not.

        Args:
            at_most: the last step that counts; all do without it.
        """
        for step in self.steps():
            if at_most is not None and step > at_most:
                continue
            fault = self._fault(step)
            if fault is None:
                return step
            self.warn(
                f"checkpoint {self.path(step).name} is damaged ({fault}); trying an older one"
            )
        return None

    def path(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.folder / f"step-{step:08d}"

    def state(self, step: int) -> dict[str, Any]:
        """What was saved beside the tensors."""
        found: dict[str, Any] = json.loads((self.path(step) / STATE).read_text())
        return found

    def read_into(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Fill ``tensors`` in place from a checkpoint of any layout.

        Raises:
            UserError: a tensor is missing there or has another shape.
        """
        try:
            load(tensors, checkpoint_id=self.path(step), no_dist=world.size() == 1)
        except CheckpointException as error:
            raise UserError(
                f"{self.path(step)} does not hold what this run needs: {first_cause(error)}"
            ) from None

    def _begin(self, step: int) -> Path:
        world.first_does(lambda: self._clear(step))
        return self.folder / f".step-{step:08d}.part"

    def _clear(self, step: int) -> None:
        """Take away what a killed save left."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritten(self.folder, step, self.steps(), error) from None
        for left in self.folder.glob(".*.part"):
            shutil.rmtree(left, ignore_errors=True)

    def _write(
        self, part: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]
    ) -> None:
        try:
            save(tensors, checkpoint_id=part, process_group=self._group, no_dist=not self._group)
            self._seal(part, state)
            if world.rank() == 0:
                self._publish(part, step)
        except (OSError, CheckpointException) as error:
            said = unwritten(self.folder, step, self.steps(), error)
            shutil.rmtree(part, ignore_errors=True)
            raise said from None

    def _seal(self, part: Path, state: dict[str, Any]) -> None:
        mine = {p.name: manifest.digest(p) for p in part.glob(f"__{world.rank()}_*.distcp")}
        shares: list[dict[str, str]] = [mine] * world.size()
        if self._group is not None:
            dist.all_gather_object(shares, mine, group=self._group)
        if world.rank() != 0:
            return
        (part / STATE).write_text(json.dumps(state))
        common = {name: manifest.digest(part / name) for name in (STATE, ".metadata")}
        digests = {name: value for share in [*shares, common] for name, value in share.items()}
        (part / manifest.NAME).write_text(manifest.render(digests))
        for name in (STATE, manifest.NAME, "."):
            flush(part / name)

    def _publish(self, part: Path, step: int) -> None:
        self._remove(step)
        os.replace(part, self.path(step))
        flush(self.folder)
        # Later ones were damaged, or the run would have gone on from there.
        later = [other for other in self.steps() if other > step]
        for other in later + self.steps()[len(later) + KEEP :]:
            self._remove(other)

    def _remove(self, step: int) -> None:
        """A folder that is being deleted must not look like a checkpoint."""
        if self.path(step).exists():
            gone = self.folder / f".old-{step:08d}.part"
            os.replace(self.path(step), gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _fault(self, step: int) -> str | None:
        path = self.path(step)
        try:
            names = sorted(manifest.read(path))
        except ValueError as error:
            return str(error)
        own = manifest.fault(path, names[world.rank() :: world.size()])
        return next((fault for fault in _gather(own) if fault), None)


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """All weights and buffers of a checkpoint, whole, in fp32, by the network's own names.

    Raises:
        UserError: the folder is not a sound checkpoint.
    """
    fault = manifest.fault(checkpoint)
    if fault:
        raise UserError(f"{checkpoint} is not a sound checkpoint: {fault}")
    stored = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    wanted = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in stored.items()
        if name.startswith(("weights.", "buffers.")) and isinstance(entry, TensorStorageMetadata)
    }
    load(wanted, checkpoint_id=checkpoint, no_dist=True)
    return {name.split(".", 1)[1]: tensor for name, tensor in wanted.items()}


def _gather(value: str | None) -> list[str]:
    return world.gather(value or "")


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
