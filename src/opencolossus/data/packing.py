"""Documents to rows of one sequence: cut as little as possible, waste as little as possible.

Documents longer than a sequence are cut into full pieces and a remainder; pieces are packed into
rows by best-fit decreasing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling"),
which leaves well under 1 % of a row empty on real corpora. What is packed is *predictions*: a
document of m tokens has m - 1 of them, so a piece of n positions reads tokens o..o+n-1 and is
asked for o+1..o+n, across the cut. So every token but ``<|bos|>`` is a target exactly once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """Which pieces stand in which row."""

    starts: Ints
    """First token of each piece [pieces], counted over the whole corpus."""
    lengths: Ints
    """Predictions in each piece [pieces]."""
    rows: Ints
    """First piece of each row, and the number of pieces at the end [rows + 1]."""
    sequence: int
    """Positions in a row."""

    def __len__(self) -> int:
        return len(self.rows) - 1

    @property
    def predictions(self) -> int:
        """Targets in all rows."""
        return int(self.lengths.sum())

    @property
    def document(self) -> float:
        """Tokens of the piece that a token stands in, on average."""
        return float(np.square(self.lengths).sum() / max(self.predictions, 1))


def pack(starts: Ints, tokens: Ints, sequence: int) -> Packing:
    """Pack documents that begin at ``starts`` [d] and hold ``tokens`` [d] tokens into rows."""
    starts, lengths = _cut(starts, tokens - 1, sequence)
    order, rows = best_fit(lengths, sequence)
    return Packing(starts[order], lengths[order], rows, sequence)


def _cut(starts: Ints, lengths: Ints, sequence: int) -> tuple[Ints, Ints]:
    """Pieces of at most one sequence, in the order of the documents."""
    pieces = -(-lengths // sequence)
    owner = np.repeat(np.arange(len(starts)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    offset = number * sequence
    return starts[owner] + offset, np.minimum(lengths[owner] - offset, sequence)


def best_fit(lengths: Ints, capacity: int) -> tuple[Ints, Ints]:
    """Best-fit decreasing over pieces of 1..capacity.

    Pieces of one length are placed together, so that the cost follows the number of *different*
    lengths. Returns the order of the pieces [n] and where each row begins in it [rows + 1].
    """
    bins = _Rows(len(lengths))
    descending = np.argsort(-lengths, kind="stable")
    values, counts = np.unique(lengths, return_counts=True)
    taken = 0
    for length, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        bins.place(descending[taken : taken + count], length, capacity)
        taken += count
    order = np.argsort(bins.row_of, kind="stable")
    return order, np.searchsorted(bins.row_of[order], np.arange(bins.count + 1))


class _Rows:
    """The rows under way, by the room that is left in them."""

    def __init__(self, pieces: int) -> None:
        self.row_of = np.empty(pieces, np.int64)
        self.count = 0
        self.by_room: dict[int, list[Ints]] = {}
        self.rooms: list[int] = []  # keys of by_room, ascending

    def place(self, pieces: Ints, length: int, capacity: int) -> None:
        """Put pieces of one length where they fit tightest, then into new rows."""
        while len(pieces):
            at = bisect_left(self.rooms, length)
            if at == len(self.rooms):
                needed = -(-len(pieces) // (capacity // length))
                self._add(capacity, self.count + np.arange(needed))
                self.count += needed
            pieces = self._fill(pieces, length, self.rooms[at])

    def _fill(self, pieces: Ints, length: int, room: int) -> Ints:
        """Fill the rows with this much room, each as far as it goes; return what remains."""
        rows = np.concatenate(self.by_room.pop(room))
        self.rooms.remove(room)
        fits = room // length
        used = rows[: -(-len(pieces) // fits)]
        placed = pieces[: len(used) * fits]
        self.row_of[placed] = np.repeat(used, fits)[: len(placed)]
        inside = np.bincount(np.arange(len(placed)) // fits)
        for number in np.unique(inside).tolist():
            self._add(room - number * length, used[inside == number])
        self._add(room, rows[len(used) :])
        return pieces[len(placed) :]

    def _add(self, room: int, rows: Ints) -> None:
        if room and len(rows):
            if room not in self.by_room:
                insort(self.rooms, room)
            self.by_room.setdefault(room, []).append(rows)
