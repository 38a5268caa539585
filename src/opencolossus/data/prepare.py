"""From a spec's ``data`` to tokens on disk and rows to read: made once, reused when it fits."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.data import tokenizer as bpe
from opencolossus.data.corpora import Corpus, open_corpus
from opencolossus.data.documents import Document, content_bytes, digest
from opencolossus.data.loader import Batch, Loader, Rows
from opencolossus.data.packing import pack
from opencolossus.data.readers import BadLines
from opencolossus.data.shards import FORMAT, Manifest, Shards, Writer, held_out
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Data, Run

Progress = Callable[[str, float | None], None]
"""Told the stage ("reading", "training the tokenizer", "writing tokens") and the share done."""

_SAMPLE_BYTES = 32 << 20  # of text, enough for the merges of any vocabulary of usual size
_CHUNK_BYTES = 4 << 20  # of text, encoded at a time


@dataclass(frozen=True)
class Prepared:
    """All that a training run needs of its data."""

    tokenizer: Tokenizer
    shards: Shards
    train: Rows
    """Training rows; for :class:`~opencolossus.data.loader.Loader`."""
    held_out: Rows
    """Rows of the documents that are kept for evaluation."""
    reused: bool
    """The tokens were there already."""
    notes: tuple[str, ...]
    """Sentences that the user should see (records skipped)."""

    def loader(
        self,
        batch_sequences: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        state: dict[str, Any] | None = None,
    ) -> Loader:
        """The stream of training batches; see :class:`~opencolossus.data.loader.Loader`."""
        return Loader(self.train, batch_sequences, seed, rank, ranks, state)

    def held_out_batches(
        self, batch_sequences: int, rank: int = 0, ranks: int = 1
    ) -> Iterator[Batch]:
        """Every held-out token once; see :meth:`~opencolossus.data.loader.Rows.batches`.

        Bits per byte = sum of losses in nats over valid targets / (ln 2 x sum of text_bytes).
        """
        return self.held_out.batches(batch_sequences, rank, ranks)


def prepare(
    run: Run,
    vocabulary: int,
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read the corpus, train the tokenizer, write the tokens, pack the rows.

    What ``folder`` holds from before is used again if corpus and settings are the same and its
    checksums agree, else made anew. Safe against other processes that do the same in the same
    folder: one works, the others wait. Later :func:`open_prepared` gives the same without a look
    at the corpus.

    Args:
        run: its ``data``, ``sequence`` and ``batch`` count.
        vocabulary: of the model; the tokenizer gets exactly so many ids.
        folder: where tokens and tokenizer.json go.
        tokenizer: use this one (of a checkpoint) instead of training one.
        progress: told about the stages.

    Raises:
        UserError: anything wrong with the data, in one sentence.
    """
    data = _data(run)
    corpus = open_corpus(data)
    recipe = _recipe(data, vocabulary, tokenizer)
    tell = progress or (lambda stage, share: None)
    with _lock(folder):
        shards = _reusable(folder, corpus, recipe)
        reused = shards is not None
        if shards is None:
            shards = _build(corpus, data, recipe, folder, vocabulary, tokenizer, tell)
    return replace(_open(run, shards), reused=reused)


def open_prepared(run: Run, folder: Path) -> Prepared:
    """What :func:`prepare` left in ``folder``, for ranks that did not make it themselves.

    Raises:
        UserError: it is missing or damaged.
    """
    return _open(run, Shards.open(folder / "tokens"))


def _data(run: Run) -> Data:
    if run.data is None:
        raise UserError("run.data is missing: give run.data.corpus (chitchat) or run.data.path")
    return run.data


def _recipe(data: Data, vocabulary: int, tokenizer: Tokenizer | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "vocabulary": vocabulary,
        "held_out": data.held_out,
        "on_bad_line": data.on_bad_line,
        "tokenizer": tokenizer.fingerprint if tokenizer else None,
    }


def _reusable(folder: Path, corpus: Corpus, recipe: dict[str, Any]) -> Shards | None:
    """The shards in the folder if they are whole and made from this corpus by this recipe."""
    try:
        shards = Shards.open(folder / "tokens")
    except UserError:
        return None
    manifest = shards.manifest
    if manifest.recipe != recipe:
        return None
    signature = corpus.signature()
    if manifest.signature != signature:
        if manifest.corpus_sha256 != corpus.fingerprint():
            return None
        manifest = replace(manifest, signature=signature)
        manifest.save(shards.folder)
    return replace(shards, manifest=manifest)


def _build(
    corpus: Corpus,
    data: Data,
    recipe: dict[str, Any],
    folder: Path,
    vocabulary: int,
    tokenizer: Tokenizer | None,
    tell: Progress,
) -> Shards:
    signature = corpus.signature()
    tell("reading", None)
    count, sample, bad = _survey(corpus, data)
    if tokenizer is None:
        tell("training the tokenizer", None)
        tokenizer = bpe.train(sample.texts(), vocabulary)
    elif len(tokenizer) > vocabulary:
        raise UserError(
            f"model.vocabulary is {vocabulary}, but the tokenizer has {len(tokenizer)} ids"
        )
    with _fresh(folder / "tokens") as part:
        tokenizer.save(part / "tokenizer.json")
        writer = Writer(part, vocabulary)
        for done in _write(writer, tokenizer, corpus.documents(BadLines())):
            tell("writing tokens", min(done / count, 1.0))
        files = writer.finish()
        Manifest(
            recipe=recipe,
            corpus=corpus.name,
            signature=signature,
            corpus_sha256=corpus.fingerprint(),
            tokenizer=tokenizer.fingerprint,
            vocabulary=vocabulary,
            dtype=writer.dtype,
            documents=writer.documents,
            tokens=sum(writer.shard_tokens),
            text_bytes=writer.text_bytes,
            bad_records=bad.count,
            first_bad_record=bad.first,
            shard_tokens=writer.shard_tokens,
            files=files,
        ).save(part)
    return Shards.open(folder / "tokens")


def _survey(corpus: Corpus, data: Data) -> tuple[int, _Sample, BadLines]:
    """Read everything once: count documents, find bad records, gather text for the tokenizer."""
    bad, sample, count = BadLines(), _Sample(), 0
    limit = int(data.held_out * 2.0**64)
    for document in corpus.documents(bad):
        count += 1
        said = digest(document)
        if int.from_bytes(said[:8], "little") >= limit:
            sample.add(int.from_bytes(said[8:16], "little"), document)
    if bad.count and data.on_bad_line == "stop":
        raise UserError(f"{bad}; mend it, or set run.data.on_bad_line to skip")
    if count < 2:
        found = "no text" if not count else "only one document"
        skipped = f" ({bad})" if bad.count else ""
        raise UserError(
            f"the corpus {corpus.name} holds {found}{skipped}; at least two documents are needed, "
            "one to train on and one to evaluate on"
        )
    return count, sample, bad


class _Sample:
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
            yield from bpe.texts_of(document)


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


def _open(run: Run, shards: Shards) -> Prepared:
    data = _data(run)
    tokenizer = Tokenizer.load(shards.folder / "tokenizer.json")
    tokenizer.check(shards.manifest.tokenizer, str(shards.folder))
    kept = held_out(shards.digests, data.held_out)
    answers = data.loss == "answers"

    def rows(which: NDArray[np.bool_]) -> Rows:
        starts = shards.starts[:-1][which]
        packing = pack(starts, np.diff(shards.starts)[which], run.sequence)
        return Rows(shards, packing, tokenizer.token_bytes, answers)

    bad = shards.manifest.bad_records
    first = shards.manifest.first_bad_record
    notes = (f"skipped {bad} bad records; the first is {first}",) if bad else ()
    prepared = Prepared(tokenizer, shards, rows(~kept), rows(kept), True, notes)
    Loader(prepared.train, run.batch_sequences, run.seed)  # refuses a corpus below one batch
    return prepared


@contextmanager
def _fresh(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``target`` when the block ends well."""
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield part
        part.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Only one process at a time prepares a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
