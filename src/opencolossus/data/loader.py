"""Batches for the trainer: shuffled by (seed, epoch) alone, resumable on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.data import chat
from opencolossus.data.packing import Packing
from opencolossus.data.shards import Shards
from opencolossus.data.shuffle import permute
from opencolossus.specs.errors import UserError

IGNORED = -100
"""The target of a position that has no loss (PyTorch's ``ignore_index``)."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, arrays of [rows, sequence], int64."""

    tokens: Ints
    """What is read; ``<|pad|>`` where a row is not full."""
    targets: Ints
    """The token that follows; -100 where there is no loss."""
    document_ids: Ints
    """Which piece of a document a position belongs to: 0, 1, ... within its row, -1 for padding.
    A position may attend to earlier positions of its own row with the same id, no others."""
    positions: Ints
    """Position within the piece, from 0."""
    token_bytes: Ints
    """Bytes of text that each token id stands for [vocabulary]."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def valid(self) -> int:
        """Targets with a loss; a batch may have none."""
        return int((self.targets != IGNORED).sum())

    @property
    def text_bytes(self) -> int:
        """Bytes of text that the targets stand for: the denominator of bits per byte."""
        return int(self.token_bytes[self.targets[self.targets != IGNORED]].sum())

    def micro_batches(self, rows: int) -> Iterator[Batch]:
        """The batch in parts of ``rows`` rows, for gradient accumulation.

        Raises:
            UserError: the parts would not be equal.
        """
        if len(self) % rows:
            raise UserError(
                f"micro_batch {rows} does not divide the {len(self)} sequences of a rank; "
                f"nearest is {math.gcd(rows, len(self))}"
            )
        for first in range(0, len(self), rows):
            yield self._part(slice(first, first + rows))

    def _part(self, rows: slice) -> Batch:
        targets = self.targets[rows]
        bytes_of = self.token_bytes
        return Batch(
            self.tokens[rows], targets, self.document_ids[rows], self.positions[rows], bytes_of
        )


@dataclass(frozen=True)
class Rows:
    """Documents of one kind (training or held out), packed and ready to be read by row."""

    shards: Shards
    packing: Packing
    token_bytes: Ints
    """Bytes of text that each token id stands for [vocabulary]."""
    answers_only: bool = False
    """Loss on what the assistant says, not on the user; plain texts count whole."""

    def __len__(self) -> int:
        return len(self.packing)

    @property
    def sequence(self) -> int:
        """Positions in a row."""
        return self.packing.sequence

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what the rows hold and in which order."""
        packing = self.packing
        shape = [len(self), packing.predictions, int(packing.starts.sum()), packing.sequence]
        said = f"{self.shards.manifest.fingerprint}{shape}{self.answers_only}"
        return sha256(said.encode()).hexdigest()

    def batch(self, numbers: Ints) -> Batch:
        """The rows of these numbers; -1 asks for a row of padding."""
        shape = (len(numbers), self.sequence)
        tokens = np.full(shape, chat.PAD_ID, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        ids = np.full(shape, -1, np.int64)
        positions = np.zeros(shape, np.int64)
        for row, number in enumerate(numbers.tolist()):
            for piece, at, end, start in self._pieces(number):
                read = self.shards.read(start, end - at + 1)
                tokens[row, at:end] = read[:-1]
                targets[row, at:end] = self._masked(read, start) if self.answers_only else read[1:]
                ids[row, at:end] = piece
                positions[row, at:end] = np.arange(end - at)
        return Batch(tokens, targets, ids, positions, self.token_bytes)

    def _pieces(self, row: int) -> Iterator[tuple[int, int, int, int]]:
        """Number in the row, first and end position, first token, of each piece."""
        if row < 0:
            return
        first, end = self.packing.rows[row], self.packing.rows[row + 1]
        lengths = self.packing.lengths[first:end]
        ends = np.cumsum(lengths)
        starts = self.packing.starts[first:end].tolist()
        yield from zip(
            range(len(lengths)), (ends - lengths).tolist(), ends.tolist(), starts, strict=True
        )

    def _masked(self, read: NDArray[Any], start: int) -> Ints:
        """Targets of a piece, -100 where the assistant does not say them."""
        document = int(np.searchsorted(self.shards.starts, start, "right")) - 1
        first = int(self.shards.starts[document])
        mask = chat.answer_mask(self.shards.read(first, start - first + len(read)))
        return np.where(mask[start - first + 1 :], read[1:].astype(np.int64), IGNORED)

    def batches(self, batch_sequences: int, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """All rows once, in order: the held-out text for evaluation.

        Every rank gets the same number of batches of the same shape (collectives need that);
        the last ones are filled up with rows of padding, which have no targets.
        """
        part = _part(batch_sequences, ranks)
        for first in range(0, len(self), batch_sequences):
            numbers = np.arange(first, first + batch_sequences)
            numbers[numbers >= len(self)] = -1
            yield self.batch(numbers[rank * part : (rank + 1) * part])


class Loader:
    """An endless stream of global batches, of which each rank reads its part.

    The rows of epoch e come in the order of a permutation keyed by (seed, e). Epochs follow one
    another without a gap: a batch at the border takes the last rows of one and the first of the
    next, so no row is lost or repeated. Rank r of n reads rows r B/n to (r+1) B/n of each global
    batch of B, so the global batches, and the state, do not depend on n.

    Args:
        rows: the training rows.
        batch_sequences: rows of a global batch, over all ranks.
        seed: of the shuffling.
        rank, ranks: which data-parallel rank this is, of how many.
        state: where to go on: what ``state()`` gave, on any number of ranks.

    Raises:
        UserError: the batch does not divide by the ranks, the rows do not fill one batch, or the
            state belongs to other data or another seed.
    """

    def __init__(
        self,
        rows: Rows,
        batch_sequences: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        state: dict[str, Any] | None = None,
    ) -> None:
        if len(rows) < batch_sequences:
            raise UserError(
                f"the corpus fills {len(rows)} sequences of {rows.sequence} tokens, less than one "
                f"batch of {batch_sequences}; bring more text, or set run.batch to "
                f"{max(len(rows), 1) * rows.sequence} or less"
            )
        self.rows = rows
        self.batch_sequences = batch_sequences
        self.seed = seed
        self.rank, self._part = rank, _part(batch_sequences, ranks)
        self.epoch = self.position = 0
        if state is not None:
            self._resume(state)

    def next_batch(self) -> Batch:
        """This rank's part of the next global batch: [batch_sequences / ranks, sequence]."""
        numbers = self._next_rows()
        first = self.rank * self._part
        return self.rows.batch(numbers[first : first + self._part])

    def _next_rows(self) -> Ints:
        """Row numbers of the next global batch; moves on."""
        taken: list[Ints] = []
        missing = self.batch_sequences
        while missing:
            end = min(self.position + missing, len(self.rows))
            index = np.arange(self.position, end)
            taken.append(permute(index, len(self.rows), self.seed, self.epoch))
            missing -= len(index)
            self.position = end
            if end == len(self.rows):
                self.epoch, self.position = self.epoch + 1, 0
        return np.concatenate(taken)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, for a checkpoint; plain JSON values, equal on all ranks."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "data": self.rows.fingerprint,
        }

    def _resume(self, state: dict[str, Any]) -> None:
        if state["data"] != self.rows.fingerprint:
            raise UserError(
                "the checkpoint was trained on other data (corpus, tokenizer, run.sequence or "
                "run.data changed since); resume with the same, or start a new run"
            )
        if state["seed"] != self.seed:
            raise UserError(
                f"run.seed is {self.seed}, but the checkpoint was made with {state['seed']}; "
                f"set run.seed to {state['seed']}"
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def _part(batch_sequences: int, ranks: int) -> int:
    if batch_sequences % ranks:
        near = max(batch_sequences // ranks, 1) * ranks
        raise UserError(
            f"a batch of {batch_sequences} sequences does not divide over {ranks} data-parallel "
            f"ranks; the nearest run.batch holds {near} sequences"
        )
    return batch_sequences // ranks
