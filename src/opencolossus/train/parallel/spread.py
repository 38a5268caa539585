"""Matrices in pieces, made whole for an optimiser that needs them whole."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from opencolossus.train.parallel.collectives import from_owners, to_owners
from opencolossus.train.parallel.cuts import Cut
from opencolossus.train.parallel.groups import Group


@dataclass(frozen=True)
class Pieces:
    """A stack of equal weights [n, ...], each spread over some ranks."""

    shards: tuple[tuple[int, Group], ...]
    """Axes of one weight, and over whom they are spread."""

    def collect(self, pieces: Tensor) -> Tensor:
        """Whole weights: this process's share of the stack, so that each is worked on once."""
        for dim, group in self.shards:
            pieces = to_owners(pieces, dim + 1, group)
        return pieces

    def give_back(self, owned: Tensor, count: int) -> Tensor:
        """This process's pieces of all ``count`` weights, from the whole ones of its share."""
        counts = [count]
        for _, group in self.shards:
            counts.append(-(-counts[-1] // group.size))
        for (dim, group), before in zip(reversed(self.shards), counts[-2::-1], strict=True):
            owned = from_owners(owned, before, dim + 1, group)
        return owned


def pieces(cut: Cut, ndim: int) -> Pieces | None:
    """How a weight lies in pieces, where a piece is less than whole matrices.

    Experts that lie on other ranks are other matrices, and need not come together.
    """
    matrix = (ndim - 2, ndim - 1)
    shards = tuple((dim, group) for dim, group in cut.shards() if dim in matrix)
    return Pieces(shards) if shards else None
