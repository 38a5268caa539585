"""Batches for the trainer: shuffled by (seed, epoch) alone, resumable on any number of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from opencolossus.data.batch import IGNORED, Batch, Ints, rows_per_rank
from opencolossus.data.rows import Rows
from opencolossus.data.shuffle import permute
from opencolossus.specs.errors import UserError

__all__ = ["IGNORED", "Batch", "Loader", "Rows"]


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
                f"the corpus is shorter than one batch: it fills {len(rows)} of {batch_sequences} "
                f"sequences of {rows.sequence} tokens; bring more text, or set run.batch to "
                f"{max(len(rows), 1) * rows.sequence} tokens or less"
            )
        self.rows = rows
        self.batch_sequences = batch_sequences
        self.seed = seed
        self.rank, self._part = rank, rows_per_rank(batch_sequences, ranks)
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
