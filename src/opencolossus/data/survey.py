"""The first look at a corpus: how much there is, what is broken, a sample for the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opencolossus.data.corpora import Corpus
from opencolossus.data.documents import Document, content_bytes, digest, texts_of
from opencolossus.data.readers import BadLines
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Data

_SAMPLE_BYTES = 32 << 20  # of text, enough for the merges of any vocabulary of usual size


@dataclass
class Survey:
    """What the first look found."""

    sample: Sample
    bad: BadLines
    documents: int = 0
    answers: int = 0
    """Documents that can teach an assistant: plain texts, and chats in which it speaks."""


def survey(corpus: Corpus, data: Data) -> Survey:
    """Read everything once.

    Raises:
        UserError: bad records and the user wants to stop at them, or fewer than two documents.
    """
    found = Survey(Sample(), BadLines())
    limit = int(data.held_out * 2.0**64)
    for document in corpus.documents(found.bad):
        found.documents += 1
        found.answers += _has_answer(document)
        said = digest(document)
        if int.from_bytes(said[:8], "little") >= limit:  # the tokenizer sees no held-out text
            found.sample.add(int.from_bytes(said[8:16], "little"), document)
    if found.bad.count and data.on_bad_line == "stop":
        raise UserError(f"{found.bad}; mend it, or set run.data.on_bad_line to skip")
    if found.documents < 2:
        held = "only one document" if found.documents else "no text"
        skipped = f" ({found.bad})" if found.bad.count else ""
        raise UserError(
            f"the corpus {corpus.name} holds {held}{skipped}; at least two documents are needed, "
            "one to train on and one to evaluate on"
        )
    return found


def _has_answer(document: Document) -> bool:
    return isinstance(document, str) or any(turn.role == "assistant" for turn in document)


class Sample:
    """An even sample of documents up to a size; which ones depends on their hashes alone."""

    def __init__(self, budget: int = _SAMPLE_BYTES) -> None:
        self._budget, self._size, self._limit = budget, 0, 1 << 64
        self._kept: list[tuple[int, int, Document]] = []

    def add(self, key: int, document: Document) -> None:
        """Consider a document with a 64-bit hash."""
        if key >= self._limit:
            return
        size = content_bytes(document)
        self._kept.append((key, size, document))
        self._size += size
        while self._size > self._budget and len(self._kept) > 1:
            self._limit //= 2
            self._kept = [item for item in self._kept if item[0] < self._limit]
            self._size = sum(item[1] for item in self._kept)

    def texts(self) -> Iterator[str]:
        """The texts of the sample, in the order of the corpus."""
        for _, _, document in self._kept:
            yield from texts_of(document)
