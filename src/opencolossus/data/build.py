"""Corpus to tokens: survey, tokenizer, shards, manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from opencolossus.data.corpora import Corpus
from opencolossus.data.documents import Document, content_bytes, digest
from opencolossus.data.folder import fresh_folder
from opencolossus.data.manifest import Manifest
from opencolossus.data.readers import BadLines
from opencolossus.data.shards import Shards, Writer
from opencolossus.data.survey import survey
from opencolossus.data.tokenizer import Tokenizer, train
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Data

Progress = Callable[[str, float | None], None]
"""Told the stage ("reading", "training the tokenizer", "writing tokens") and the share done."""

_CHUNK_BYTES = 4 << 20  # of text, encoded at a time


def build(
    corpus: Corpus,
    data: Data,
    recipe: dict[str, Any],
    folder: Path,
    vocabulary: int,
    given: Tokenizer | None,
    tell: Progress,
) -> Shards:
    """Make ``folder/tokens`` anew; it takes its place when it is whole.

    Reads the corpus twice, and never holds more of it than a sample for the tokenizer and a chunk
    to encode.

    Raises:
        UserError: anything wrong with the corpus, or the disk.
    """
    signature = corpus.signature()
    tell("reading", None)
    found = survey(corpus, data)
    if given is not None and len(given) > vocabulary:
        raise UserError(f"model.vocabulary is {vocabulary}, but the tokenizer has {len(given)} ids")
    if given is None:
        tell("training the tokenizer", None)
    tokenizer = given or train(found.sample.texts(), vocabulary)
    with fresh_folder(folder / "tokens") as part:
        tokenizer.save(part / "tokenizer.json")
        writer = Writer(part, vocabulary)
        for done in _write(writer, tokenizer, corpus.documents(BadLines())):
            tell("writing tokens", min(done / found.documents, 1.0))
        files = writer.finish()
        Manifest(
            recipe=recipe,
            corpus=corpus.name,
            signature=signature,
            corpus_sha256=corpus.fingerprint(),
            tokenizer=tokenizer.fingerprint,
            tokenizer_given=given is not None,
            vocabulary=vocabulary,
            dtype=writer.dtype,
            documents=writer.documents,
            tokens=sum(writer.shard_tokens),
            text_bytes=writer.text_bytes,
            answers=found.answers,
            bad_records=found.bad.count,
            first_bad_record=found.bad.first,
            shard_tokens=writer.shard_tokens,
            files=files,
        ).save(part)
    return Shards.open(folder / "tokens")


def _write(writer: Writer, tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[int]:
    """Encode and write in chunks; yields the number of documents done after each."""
    for chunk in _chunks(documents):
        coded = tokenizer.encode_documents(chunk)
        writer.add(
            (ids, digest(document), content_bytes(document))
            for ids, document in zip(coded, chunk, strict=True)
        )
        yield writer.documents


def _chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += content_bytes(document)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
