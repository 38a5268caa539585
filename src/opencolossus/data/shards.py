"""Token shards on disk: flat arrays of token ids, memory-mapped, with a manifest to trust them by.

A folder holds ``shard-00000.bin`` and so on (little-endian uint16, or uint32 for vocabularies
beyond 65,536; whole documents one after another), ``starts.npy`` (first token of each document
and the end), ``digests.npy`` (64 bits of SHA-256 of each document), ``text_bytes.npy``,
``tokenizer.json`` and ``manifest.json``, which is written last.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic

FORMAT = 1
"""Raised when the layout of the folder, or the cleaning of a corpus, changes."""

SHARD_TOKENS = 1 << 27
_HEAD = 1 << 20  # bytes that are checked whenever a file is opened
_CHECK_ALL = 1 << 28  # bytes of a folder up to which opening it checks everything
_INDEX = ("starts", "digests", "text_bytes")


@dataclass(frozen=True)
class FileSum:
    """What a file must be to be trusted."""

    name: str
    bytes: int
    head: str
    """SHA-256 of the first MiB."""
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileSum:
        """Read a file and sum it up."""
        whole, size, head = sha256(), 0, ""
        with path.open("rb") as stream:
            while block := stream.read(_HEAD):
                whole.update(block)
                head = head or whole.hexdigest()
                size += len(block)
        return cls(path.name, size, head or whole.hexdigest(), whole.hexdigest())

    def fault(self, folder: Path, *, whole: bool) -> str | None:
        """What is wrong with the file in ``folder``, if anything."""
        path = folder / self.name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != self.bytes:
            return f"{path} has {path.stat().st_size} bytes, not {self.bytes}"
        if whole:
            return None if FileSum.of(path) == self else f"{path} is damaged (its SHA-256 differs)"
        with path.open("rb") as stream:
            good = sha256(stream.read(_HEAD)).hexdigest() == self.head
        return None if good else f"{path} is damaged (its first MiB differs)"


@dataclass(frozen=True)
class Manifest:
    """What the folder holds and what it was made from."""

    recipe: dict[str, Any]
    """Everything but the corpus that decides the tokens; other values mean: make them anew."""
    corpus: str
    signature: str
    """Of the corpus: names, sizes, times."""
    corpus_sha256: str
    tokenizer: str
    """Fingerprint of the tokenizer."""
    vocabulary: int
    dtype: str
    documents: int
    tokens: int
    text_bytes: int
    """UTF-8 bytes of text, without special tokens."""
    bad_records: int
    first_bad_record: str
    shard_tokens: list[int]
    files: list[FileSum] = field(default_factory=list)
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the token stream: equal streams agree on every machine."""
        sums = [file.sha256 for file in self.files if file.name.endswith((".bin", ".npy"))]
        return sha256(json.dumps([self.dtype, self.tokenizer, sums]).encode()).hexdigest()

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text for each token, special ones included."""
        return self.text_bytes / self.tokens

    def save(self, folder: Path) -> None:
        """Write manifest.json."""
        write_atomic(folder / "manifest.json", json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read manifest.json.

        Raises:
            UserError: it is missing, damaged or of another format.
        """
        path = folder / "manifest.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            files = [FileSum(**file) for file in fields.pop("files")]
            manifest = cls(**fields, files=files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise UserError(f"{path} is missing or damaged; prepare the data again") from None
        if manifest.format != FORMAT:
            raise UserError(
                f"{path} has format {manifest.format}, not {FORMAT}; prepare the data again"
            )
        return manifest


@dataclass(frozen=True)
class Shards:
    """Packed tokens of all documents, opened for reading."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, *, verify: bool = False) -> Shards:
        """Open a folder of shards after a check of its files.

        Checked are sizes and the first MiB of each, and everything if the folder holds less than
        256 MiB or ``verify`` asks for it.

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
