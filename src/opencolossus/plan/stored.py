"""Cuts of a model beside the ways to store its states: a lattice that need not be written out.

ZeRO and recomputation change neither replicas nor batch. So replicas are laid once for each cut,
bytes are priced for a block of cuts and all ways at once, and only the layouts that are asked for
become rows of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.step.columns import Array
from opencolossus.step.layouts import Layouts

WAYS = ("zero", "recompute")
"""What makes a way to store."""


@dataclass(frozen=True)
class Stored:
    """A lattice of layouts."""

    cuts: Layouts
    """Their own ``zero`` and ``recompute`` mean nothing."""
    zero: Array
    """Of each way to store."""
    recompute: Array
    index: NDArray[np.intp]
    """Of each layout: the number of its cut times the ways, plus the number of its way."""

    @property
    def size(self) -> int:
        """Number of layouts."""
        return int(self.index.size)

    @property
    def cut(self) -> NDArray[np.intp]:
        """Which of the cuts each layout has."""
        return self.index // self.zero.size

    def take(self, which: Any = slice(None)) -> Layouts:
        """The layouts at ``which`` (integers, a mask or a slice), all of them if left out."""
        cut, way = np.divmod(self.index[which], self.zero.size)
        ways = {"zero": self.zero[way], "recompute": self.recompute[way]}
        return replace(self.cuts.take(cut), **ways)

    def values(self, axis: str) -> Array:
        """What the layouts have along one axis, each value once, in order."""
        home = self if axis in WAYS else self.cuts
        return np.unique(getattr(home, axis))

    def blocks(self, size: int) -> Iterator[Layouts]:
        """All cuts with all ways, about ``size`` at a time: ways along the first axis of arrays,
        cuts along the second, which is long and therefore fast."""
        ways = {"zero": self.zero[:, None], "recompute": self.recompute[:, None]}
        rows = max(size // self.zero.size, 1)
        for start in range(0, self.cuts.length, rows):
            yield replace(self.cuts.take(slice(start, start + rows)), **ways)
