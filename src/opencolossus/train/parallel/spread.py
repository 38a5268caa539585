"""Matrices in pieces, made whole for an optimiser that needs them whole."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from opencolossus.train.parallel import collectives
from opencolossus.train.parallel.cuts import Cut
from opencolossus.train.parallel.groups import Group


@dataclass(frozen=True)
class Pieces:
    """A stack of equal weights [n, ...], each spread over some ranks."""

    shards: tuple[tuple[int, Group], ...]
    """Axes of one weight, and over whom they are spread."""

    def join(self, pieces: Tensor) -> Tensor:
        """The whole weights [n, ...]."""
        for dim, group in self.shards:
            pieces = collectives.join(pieces, dim + 1, group)
        return pieces

    def part(self, whole: Tensor) -> Tensor:
        """This process's pieces of the whole weights."""
        for dim, group in reversed(self.shards):
            whole = collectives.part(whole, dim + 1, group)
        return whole


def pieces(cut: Cut, ndim: int) -> Pieces | None:
    """How a weight lies in pieces, where a piece is less than whole matrices.

    Experts that lie on other ranks are other matrices, and need not come together.
    """
    matrix = (ndim - 2, ndim - 1)
    shards = tuple((dim, group) for dim, group in cut.shards() if dim in matrix)
    return Pieces(shards) if shards else None
