"""Packed documents read by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.data import chat
from opencolossus.data.batch import IGNORED, Batch, Ints, rows_per_rank
from opencolossus.data.packing import Packing
from opencolossus.data.shards import Shards


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
        for row, number in enumerate(numbers.tolist()):
            for piece, at, end, start in self._pieces(number):
                read = self.shards.read(start, end - at + 1)
                tokens[row, at:end] = read[:-1]
                targets[row, at:end] = self._masked(read, start) if self.answers_only else read[1:]
                ids[row, at:end] = piece
        return Batch(tokens, targets, ids, self.token_bytes)

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
        part = rows_per_rank(batch_sequences, ranks)
        for first in range(0, len(self), batch_sequences):
            numbers = np.arange(first, first + batch_sequences)
            numbers[numbers >= len(self)] = -1
            yield self.batch(numbers[rank * part : (rank + 1) * part])
