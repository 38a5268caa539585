"""Cuts of a model that several kinds of GPU can share, and which of them are worth pricing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import filled
from opencolossus.step.columns import Array
from opencolossus.step.layouts import Layouts

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

TRIED = 96
"""Cuts that are priced with the batch split."""
OWN = 8
"""Cuts that are tried because they are the best for one kind alone."""
SLOWEST = 0.25
"""Layouts slower than this share of a kind's fastest are left out."""
CUT = {
    "tensor": 512,
    "context": 512,
    "pipeline": 512,
    "virtual": 512,
    "expert": 512,
    "shard_group": 512,
    "zero": 4,
    "schedule": 4,
}
"""What makes a cut, and how many values each can have; together less than 63 bits."""

Indices = NDArray[np.int64]


def keys(layouts: Layouts) -> Indices:
    """One integer per layout that tells its cut."""
    key = np.zeros(layouts.tensor.shape, dtype=np.int64)
    for name, values in CUT.items():
        key = key * values + np.asarray(getattr(layouts, name)).astype(np.int64)
    return key


@dataclass(frozen=True)
class Ranked:
    """Layouts of a kind that can hold one replica, sorted by cut, the fastest of each first."""

    index: Indices
    """Among the priced layouts."""
    key: Indices
    rate: Array
    place: Indices
    """Within its cut."""


def ranked(item: Found) -> Ranked:
    """The layouts of one kind in that order; those far slower than its best are left out."""
    layouts, rate = item.priced.layouts, item.priced.tokens_per_second
    size = layouts.tensor * layouts.context * layouts.pipeline * filled.expert_group(layouts)
    able = np.flatnonzero((rate >= SLOWEST * rate.max()) & (size <= item.carried))
    key = keys(layouts.take(able))
    order = np.lexsort((-rate[able], key))
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    place = np.arange(key.size) - np.repeat(starts, np.diff(starts, append=key.size))
    return Ranked(able[order], key, rate[able][order], place)


def likely(found: Sequence[Found], orders: Sequence[Ranked]) -> Indices:
    """The cuts with which the kinds are fastest, added up, and the best of each kind."""
    cuts, rates, own = [], [], []
    for item, one in zip(found, orders, strict=True):
        first = one.place == 0
        cuts.append(one.key[first])
        rates.append(item.share * one.rate[first])
        own.append(cuts[-1][np.argsort(-rates[-1])[:OWN]])
    known, where = np.unique(np.concatenate(cuts), return_inverse=True)
    score = np.bincount(where, weights=np.concatenate(rates), minlength=known.size)
    together = known[np.argsort(-score, kind="stable")[:TRIED]]
    return np.unique(np.concatenate([together, *own]))


def replicas(found: Sequence[Found], orders: Sequence[Ranked], cuts: Indices) -> Array:
    """Replicas of all kinds with each cut."""
    total = np.zeros(cuts.size)
    for item, one in zip(found, orders, strict=True):
        first = (one.place == 0) & np.isin(one.key, cuts)
        layouts = item.priced.layouts.take(one.index[first])
        total[np.searchsorted(cuts, one.key[first])] += filled.most_replicas(layouts, item.carried)
    return total
