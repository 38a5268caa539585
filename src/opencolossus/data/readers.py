"""Files that people bring: .txt, .jsonl and Parquet, read as a stream of documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opencolossus.data.documents import Document, DocumentError, conversation, plain
from opencolossus.specs.errors import UserError

TEXT_PART = 16_384
"""Characters: a longer .txt is cut into documents of at most so many, at ends of paragraphs."""

_ROWS = 1024  # of a Parquet file, held at a time


class BadLines:
    """Counts the records that are no documents, and remembers the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, where: str, why: str) -> None:
        """Note one bad record at ``where`` (file:line)."""
        self.first = self.first or f"{where}: {why}"
        self.count += 1

    def __str__(self) -> str:
        records = "1 record is" if self.count == 1 else f"{self.count} records are"
        return f"{records} no document; the first is {self.first}"


def read_text(path: Path, bad: BadLines) -> Iterator[Document]:
    """The documents of a text file in UTF-8.

    Raises:
        UserError: it is binary, or not UTF-8.
    """
    del bad  # a text has no bad lines: it is text or it is not
    try:
        with path.open(encoding="utf-8-sig") as stream:
            rest = ""
            while block := stream.read(TEXT_PART - len(rest)):
                if "\0" in block:
                    raise UserError(f"{path} is binary, not text; data must be UTF-8 text")
                document, rest = _cut(rest + block)
                if document := plain(document):
                    yield document
            if rest := plain(rest):
                yield rest
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; convert it, or take it away") from None


def _cut(text: str) -> tuple[str, str]:
    """A full part cut at its last paragraph, else line, else word; a short one is the rest."""
    if len(text) < TEXT_PART:
        return "", text
    for border in ("\n\n", "\n", " "):
        at = text.rfind(border, TEXT_PART // 2)
        if at > 0:
            return text[:at], text[at:]
    return text, ""


def read_jsonl(path: Path, bad: BadLines) -> Iterator[Document]:
    """The documents of a file with one JSON object a line: ``text``, or chat ``messages``."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                document = _document(json.loads(line.decode("utf-8-sig")))
            except DocumentError as error:
                bad.add(f"{path}:{number}", str(error))
            except json.JSONDecodeError as error:
                bad.add(f"{path}:{number}", f"not JSON ({error.msg})")
            except (ValueError, RecursionError):  # wrong encoding, absurd depth, absurd numbers
                bad.add(f"{path}:{number}", "not JSON in UTF-8")
            else:
                if document:
                    yield document


def _document(record: object) -> Document:
    if not isinstance(record, dict):
        raise DocumentError("not an object with text or messages")
    if record.get("messages") is not None:
        return conversation(record["messages"])
    text = record.get("text")
    if not isinstance(text, str):
        found = ", ".join(str(key) for key in record) or "nothing"
        raise DocumentError(f"it has neither a text nor messages (found: {found:.80})")
    return plain(text)


def read_parquet(path: Path, bad: BadLines) -> Iterator[Document]:
    """The documents of a Parquet file with a column ``text`` or ``messages``.

    Raises:
        UserError: it is no Parquet file, or has neither column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in ("messages", "text") if name in file.schema_arrow.names]
            if not columns:
                found = ", ".join(file.schema_arrow.names)
                raise UserError(
                    f"{path} has neither a column text nor messages (found: {found:.200})"
                )
            row = 0
            for batch in file.iter_batches(_ROWS, columns=columns):
                for record in batch.to_pylist():
                    row += 1
                    yield from _row(record, f"{path}:{row}", bad)
    except pa.ArrowException as error:
        why = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise UserError(f"{path} is not a Parquet file: {why}; mend it or take it away") from None


def _row(record: dict[str, Any], where: str, bad: BadLines) -> Iterator[Document]:
    if all(value is None for value in record.values()):
        return
    try:
        document = _document(record)
    except DocumentError as error:
        bad.add(where, str(error))
        return
    if document:
        yield document


READERS: dict[str, Callable[[Path, BadLines], Iterator[Document]]] = {
    ".txt": read_text,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}
"""How to read a file, by the end of its name."""
