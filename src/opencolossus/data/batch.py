"""What a step reads: rows of packed documents, with targets and document borders."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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

    def part(self, rows: slice) -> Batch:
        """Some of the rows."""
        return replace(
            self,
            tokens=self.tokens[rows],
            targets=self.targets[rows],
            document_ids=self.document_ids[rows],
        )


def rows_per_rank(batch_sequences: int, ranks: int) -> int:
    """A rank's rows of a global batch.

    Raises:
        UserError: the batch does not divide by the ranks.
    """
    if batch_sequences % ranks:
        near = max(batch_sequences // ranks, 1) * ranks
        raise UserError(
            f"a batch of {batch_sequences} sequences does not divide over {ranks} data-parallel "
            f"ranks; the nearest run.batch holds {near} sequences"
        )
    return batch_sequences // ranks
