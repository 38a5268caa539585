"""Tensors in safetensors files: several of bounded size with an index, each written atomically."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import atomic_path, write_atomic

SHARD_BYTES = 5_000_000_000
"""Largest file, as Hugging Face splits by default."""
INDEX = "model.safetensors.index.json"


def write_tensors(
    folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write tensors to one or more files, holding one file's worth in memory.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    parts: list[tuple[Path, list[str]]] = []
    total = 0
    for number, shard in enumerate(_shards(tensors, shard_bytes), start=1):
        path = folder / f".part-{number:05d}.safetensors"
        _save(path, shard)
        parts.append((path, list(shard)))
        total += sum(t.nbytes for t in shard.values())
    _name(folder, parts, total)


def _shards(tensors: Iterable[tuple[str, Tensor]], shard_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard


def _save(path: Path, shard: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    with atomic_path(path) as part:
        save_file(shard, part, metadata={"format": "pt"})


def _name(folder: Path, parts: list[tuple[Path, list[str]]], total: int) -> None:
    """Give the parts their final names, known only now, and write the index of several."""
    for old in [*folder.glob("model*.safetensors"), folder / INDEX]:
        old.unlink(missing_ok=True)
    weight_map: dict[str, str] = {}
    for number, (path, names) in enumerate(parts, start=1):
        final = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        final = final if len(parts) > 1 else "model.safetensors"
        path.replace(folder / final)
        weight_map |= dict.fromkeys(names, final)
    if len(parts) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_atomic(folder / INDEX, json.dumps(index, indent=2) + "\n")


class TensorFolder:
    """The tensors of all safetensors files of a folder, read one at a time.

    A name that stands in several files is one tensor split for tensor parallelism, as in the
    public Grok-2 release (``*-TP-000.safetensors``...); `read` joins the pieces.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.files: dict[str, list[Any]] = defaultdict(list)
        for path in _paths(folder):
            file = stack.enter_context(_opened(path))
            for name in file.keys():  # noqa: SIM118 - the file object is no mapping
                self.files[name].append(file)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """The whole tensor.

        Raises:
            UserError: it is missing, or has another shape.
        """
        if name not in self:
            raise UserError(f"the files hold no tensor {name}; they are of another model")
        pieces = [file.get_tensor(name) for file in self.files[name]]
        tensor: Tensor = pieces[0] if len(pieces) == 1 else _joined(pieces, shape)
        if tensor.shape != shape:
            raise UserError(
                f"tensor {name} has shape {list(tensor.shape)}, but config.json says {list(shape)}"
            )
        return tensor

    def refuse_others(self, known: Iterable[str]) -> None:
        """Make sure that no tensor is left over, which the network would silently do without.

        Raises:
            UserError: one is.
        """
        extra = [name for name in sorted(set(self.files) - set(known)) if not _made(name)]
        if extra:
            more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
            raise UserError(
                f"the files hold the tensor {extra[0]}{more}, which a model of this config.json "
                "has not; give the config.json that belongs to them"
            )


def _paths(folder: Path) -> list[Path]:
    """The files of a folder; those of its index where it has one, but for pieces (see above)."""
    paths = sorted(folder.glob("*.safetensors"))
    if (folder / INDEX).is_file() and not any("-TP-" in path.name for path in paths):
        paths = sorted({folder / name for name in _index(folder / INDEX)})
    if not paths:
        raise UserError(f"{folder} holds no *.safetensors file; give the folder of an export")
    return paths


def _index(path: Path) -> Iterable[str]:
    try:
        names: dict[str, str] = json.loads(path.read_bytes())["weight_map"]
        return [str(name) for name in names.values()]
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise UserError(f"{path} is damaged; copy or export it again") from None


def _made(name: str) -> bool:
    """Whether a tensor only repeats what the configuration says (in old files of Llama)."""
    return name.endswith("rotary_emb.inv_freq")


def _joined(pieces: list[Tensor], shape: torch.Size) -> Tensor:
    """Pieces along the one dimension in which they are smaller; copies if there is none."""
    for dim, size in enumerate(shape):
        if pieces[0].shape[dim] != size:
            return torch.cat(pieces, dim)
    return pieces[0]


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}; copy or export it again") from None
