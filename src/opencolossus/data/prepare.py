"""From a spec's ``data`` to tokens on disk and rows to read: made once, reused when it fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.data.build import Progress, build
from opencolossus.data.corpora import Corpus, open_corpus
from opencolossus.data.folder import locked
from opencolossus.data.loader import Batch, Loader, Rows
from opencolossus.data.manifest import FORMAT
from opencolossus.data.packing import pack
from opencolossus.data.shards import Shards, held_out
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Data, Run


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
    resume: bool = False,
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
        resume: go on with the tokens that are there, whatever became of the corpus since; only
            if they are damaged are they made anew, from the same corpus with ``tokenizer``.
        progress: told about the stages.

    Raises:
        UserError: anything wrong with the data, in one sentence.
    """
    data = run.told_data()
    recipe = _recipe(data, vocabulary)
    tell = progress or (lambda stage, share: None)
    with locked(folder):
        found = _whole(folder, tell)
        if resume and found is not None:
            if tokenizer is not None:
                tokenizer.check(found.manifest.tokenizer, str(found.folder))
            prepared = _open(run, found)
            return replace(prepared, notes=prepared.notes + _changes(data, found))
        corpus = open_corpus(data)
        shards = found and _fitting(found, corpus, recipe, tokenizer)
        reused = shards is not None
        shards = shards or build(corpus, data, recipe, folder, vocabulary, tokenizer, tell)
    return replace(_open(run, shards), reused=reused)


def open_prepared(run: Run, folder: Path) -> Prepared:
    """What :func:`prepare` left in ``folder``, for ranks that did not make it themselves.

    Raises:
        UserError: it is missing or damaged.
    """
    return _open(run, Shards.open(folder / "tokens"))


def _recipe(data: Data, vocabulary: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "vocabulary": vocabulary,
        "held_out": data.held_out,
        "on_bad_line": data.on_bad_line,
    }


def _whole(folder: Path, tell: Progress) -> Shards | None:
    """The shards in the folder, if there are any and they are sound."""
    if not (folder / "tokens").exists():
        return None
    try:
        return Shards.open(folder / "tokens")
    except UserError as error:
        tell(f"{error}: doing so", None)
        return None


def _fitting(
    shards: Shards, corpus: Corpus, recipe: dict[str, Any], tokenizer: Tokenizer | None
) -> Shards | None:
    """The shards, if they were made from this corpus by this recipe."""
    manifest = shards.manifest
    if tokenizer is None:
        same_tokenizer = not manifest.tokenizer_given
    else:
        same_tokenizer = manifest.tokenizer == tokenizer.fingerprint
    if manifest.recipe != recipe or not same_tokenizer:
        return None
    signature = corpus.signature()
    if manifest.signature != signature:
        if manifest.corpus_sha256 != corpus.fingerprint():
            return None
        manifest = replace(manifest, signature=signature)
        manifest.save(shards.folder)
    return replace(shards, manifest=manifest)


def _changes(data: Data, shards: Shards) -> tuple[str, ...]:
    """What a resumed run should be told about its corpus."""
    manifest = shards.manifest
    try:
        corpus = open_corpus(data)
        if manifest.signature == corpus.signature():
            return ()
        if manifest.corpus_sha256 == corpus.fingerprint():
            return ()
        what = "has changed"
    except UserError:
        what = "cannot be read any more"
    return (f"the corpus {manifest.corpus} {what}; the run goes on with the tokens it began with",)


def _open(run: Run, shards: Shards) -> Prepared:
    data = run.told_data()
    tokenizer = Tokenizer.load(shards.folder / "tokenizer.json")
    tokenizer.check(shards.manifest.tokenizer, str(shards.folder))
    kept = held_out(shards.digests, data.held_out)
    answers = data.loss == "answers"
    if answers and not shards.manifest.answers:
        raise UserError(
            f"run.data.loss is answers, but in {shards.manifest.corpus} no assistant says a word; "
            "set it to all, or bring messages with the role assistant"
        )

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
