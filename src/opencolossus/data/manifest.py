"""What a folder of tokens holds, from what it was made, and the checksums to trust it by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic

FORMAT = 1
"""Raised when the layout of the folder, or the cleaning of a corpus, changes."""

_HEAD = 1 << 20  # bytes that are checked whenever a file is opened
OWN_SUM = "manifest_sha256"
"""In manifest.json: of everything else there."""


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
    tokenizer_given: bool
    """It was given, not trained on this corpus."""
    vocabulary: int
    dtype: str
    documents: int
    tokens: int
    text_bytes: int
    """UTF-8 bytes of text, without special tokens."""
    answers: int
    """Documents that can teach an assistant: plain texts, and chats in which it speaks."""
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
        """Write manifest.json, with a checksum of its own."""
        fields = asdict(self)
        whole = fields | {OWN_SUM: _own_sum(fields)}
        write_atomic(folder / "manifest.json", json.dumps(whole, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read manifest.json.

        Raises:
            UserError: it is missing, damaged or of another format.
        """
        path = folder / "manifest.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            # Folders made before there was one lack it.
            if fields.pop(OWN_SUM, _own_sum(fields)) != _own_sum(fields):
                raise ValueError("its checksum differs")
            files = [FileSum(**file) for file in fields.pop("files")]
            manifest = cls(**fields, files=files)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise UserError(f"{path} is missing or damaged; prepare the data again") from None
        if manifest.format != FORMAT:
            raise UserError(
                f"{path} has format {manifest.format}, not {FORMAT}; prepare the data again"
            )
        return manifest


def _own_sum(fields: dict[str, Any]) -> str:
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
