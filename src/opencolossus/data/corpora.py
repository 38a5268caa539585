"""Where the documents come from: a corpus that a package brings, or the user's own files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from opencolossus.data import chitchat
from opencolossus.data.documents import Document
from opencolossus.data.readers import READERS, BadLines
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.run import Data


@dataclass(frozen=True)
class Corpus:
    """A source of documents that can be read again and again, always in the same order."""

    name: str
    documents: Callable[[BadLines], Iterator[Document]]
    """Stream the documents; what cannot be read is noted."""
    signature: Callable[[], str]
    """Changes when the source seems changed (names, sizes, times); instant."""
    fingerprint: Callable[[], str]
    """SHA-256 (hex) of the source's bytes; reads it all."""


def open_corpus(data: Data) -> Corpus:
    """The corpus that a spec names.

    Raises:
        UserError: an unknown corpus, a missing package, a path that is missing or holds nothing
            that can be read.
    """
    if data.path is not None:
        return _files(data.path)
    name = data.corpus or ""
    if name not in PACKAGED:
        raise UserError(
            f"run.data.corpus {name!r} is unknown{did_you_mean(name, PACKAGED)}; "
            f"known are {', '.join(PACKAGED)}, or give run.data.path"
        )
    return PACKAGED[name]()


def _chitchat() -> Corpus:
    def fingerprint() -> str:
        return sha256(chitchat.raw()).hexdigest()

    return Corpus("chitchat", lambda _: chitchat.conversations(), fingerprint, fingerprint)


PACKAGED: dict[str, Callable[[], Corpus]] = {"chitchat": _chitchat}
"""Corpora that installed packages bring, by name."""


def _files(path: Path) -> Corpus:
    files = find_files(path)

    def documents(bad: BadLines) -> Iterator[Document]:
        for file in files:
            with _reading(file):
                yield from READERS[file.suffix.lower()](file, bad)

    def signature() -> str:
        stats = []
        for file in files:
            with _reading(file):
                stat = file.stat()
            stats.append((str(file), stat.st_size, stat.st_mtime_ns))
        return sha256(repr(stats).encode()).hexdigest()

    def fingerprint() -> str:
        total = sha256()
        for file in files:
            with _reading(file), file.open("rb") as stream:
                content = file_digest(stream, "sha256").hexdigest()
            total.update(f"{file.relative_to(path)}\0{content}\0".encode())
        return total.hexdigest()

    return Corpus(str(path), documents, signature, fingerprint)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None


def find_files(path: Path) -> list[Path]:
    """The readable files at a path, in the order of their names; hidden ones are passed over.

    Raises:
        UserError: the path is missing, or nothing there can be read.
    """
    kinds = ", ".join(READERS)
    if not path.exists():
        raise UserError(f"run.data.path {path} does not exist; give a file or folder of {kinds}")
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise UserError(f"run.data.path {path} is none of {kinds}")
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in READERS
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise UserError(f"run.data.path {path} holds no file of {kinds}")
    return files
