"""Token shards on disk: flat arrays of token ids, memory-mapped, with a manifest to trust them by.

A folder holds ``shard-00000.bin`` and so on (little-endian uint16, or uint32 for vocabularies
beyond 65,536; whole documents one after another), ``starts.npy`` (first token of each document
and the end), ``digests.npy`` (64 bits of SHA-256 of each document), ``text_bytes.npy``,
``tokenizer.json`` and ``manifest.json``, which is written last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.data.manifest import FileSum, Manifest
from opencolossus.specs.errors import UserError

SHARD_TOKENS = 1 << 27
_CHECK_ALL = 1 << 32
"""Bytes of a folder up to which opening it checks everything: 3 to 10 s of one core at most."""
_INDEX = ("starts", "digests", "text_bytes")


@dataclass(frozen=True)
class Shards:
    """Packed tokens of all documents, opened for reading."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, *, verify: bool = False) -> Shards:
        """Open a folder of shards after a check of its files.

        Checked are sizes and the first MiB of each, and everything if the folder holds less than
        4 GiB or ``verify`` asks for it.

        Raises:
            UserError: a file is missing or damaged.
        """
        manifest = Manifest.load(folder)
        whole = verify or sum(file.bytes for file in manifest.files) < _CHECK_ALL
        for file in manifest.files:
            if fault := file.fault(folder, whole=whole):
                raise UserError(f"{fault}; prepare the data again")
        return cls(folder, manifest)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First token of each document, and the end [documents + 1]."""
        return self._index("starts")

    @cached_property
    def digests(self) -> NDArray[np.uint64]:
        """64 bits of the SHA-256 of each document [documents]."""
        return self._index("digests")

    @cached_property
    def text_bytes(self) -> NDArray[np.int64]:
        """Bytes of text in each document [documents]."""
        return self._index("text_bytes")

    def _index(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return array

    @cached_property
    def _maps(self) -> list[NDArray[Any]]:
        return [
            np.memmap(self.folder / _shard_name(n), self.manifest.dtype, "r")
            for n in range(len(self.manifest.shard_tokens))
        ]

    @cached_property
    def _firsts(self) -> list[int]:
        return [0, *np.cumsum(self.manifest.shard_tokens).tolist()]

    def read(self, start: int, count: int) -> NDArray[Any]:
        """``count`` tokens from ``start`` on, all of one document; a view, not a copy."""
        shard = bisect_right(self._firsts, start) - 1
        at = start - self._firsts[shard]
        return self._maps[shard][at : at + count]

    def document(self, number: int) -> NDArray[Any]:
        """All tokens of one document."""
        first, end = int(self.starts[number]), int(self.starts[number + 1])
        return self.read(first, end - first)


class Writer:
    """Writes documents into a folder of shards; the folder counts once its manifest is there."""

    def __init__(self, folder: Path, vocabulary: int, shard_tokens: int = SHARD_TOKENS) -> None:
        self.folder = folder
        self.dtype = "<u2" if vocabulary <= 1 << 16 else "<u4"
        self._limit = shard_tokens
        self._lengths: list[int] = []
        self._digests: list[int] = []
        self._bytes: list[int] = []
        self.shard_tokens: list[int] = []
        self._stream: Any = None

    def add(self, documents: Iterable[tuple[list[int], bytes, int]]) -> None:
        """Append documents: token ids, SHA-256 digest, bytes of text."""
        for ids, digest, text_bytes in documents:
            if self._stream is None or self.shard_tokens[-1] + len(ids) > self._limit:
                self._next_shard()
            self._stream.write(np.array(ids, self.dtype).tobytes())
            self.shard_tokens[-1] += len(ids)
            self._lengths.append(len(ids))
            self._digests.append(int.from_bytes(digest[:8], "little"))
            self._bytes.append(text_bytes)

    def _next_shard(self) -> None:
        self.close()
        self._stream = (self.folder / _shard_name(len(self.shard_tokens))).open("wb")
        self.shard_tokens.append(0)

    def close(self) -> None:
        """Close the shard under way."""
        if self._stream is not None:
            self._stream.close()

    def finish(self) -> list[FileSum]:
        """Write the index; return the sums of all files."""
        self.close()
        starts = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)]).astype(np.int64)
        np.save(self.folder / "starts.npy", starts)
        np.save(self.folder / "digests.npy", np.array(self._digests, np.uint64))
        np.save(self.folder / "text_bytes.npy", np.array(self._bytes, np.int64))
        names = [_shard_name(n) for n in range(len(self.shard_tokens))]
        names += [f"{name}.npy" for name in _INDEX] + ["tokenizer.json"]
        return [FileSum.of(self.folder / name) for name in names]

    @property
    def documents(self) -> int:
        """Documents written so far."""
        return len(self._lengths)

    @property
    def text_bytes(self) -> int:
        """Bytes of text written so far."""
        return sum(self._bytes)


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}.bin"


def held_out(digests: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which documents are kept for evaluation [documents], about ``share`` of them.

    A document's own hash decides, so it stays on its side when others come or go, and copies of
    it stay together. At least one document is kept, and one left to train on.
    """
    kept: NDArray[np.bool_] = digests < np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    if not kept.any():
        kept = digests == digests.min()
    elif kept.all():
        kept = digests != digests.max()
    return kept
