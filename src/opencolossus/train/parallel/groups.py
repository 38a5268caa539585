"""The process groups of a layout.

Ranks count pipeline stage first, then data, context, tensor: neighbours share a server, and what
talks most stands nearest. Expert groups are the innermost data ranks with their tensor ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import product

import torch.distributed as dist

from opencolossus.train.parallel.layout import Sizes


@dataclass(frozen=True)
class Place:
    """Where a rank stands."""

    pipeline: int
    data: int
    context: int
    tensor: int

    @classmethod
    def of(cls, rank: int, sizes: Sizes) -> Place:
        """The place of a rank."""
        rank, tensor = divmod(rank, sizes.tensor)
        rank, context = divmod(rank, sizes.context)
        pipeline, data = divmod(rank, sizes.data)
        return cls(pipeline, data, context, tensor)


@dataclass(frozen=True)
class Group:
    """Ranks that do something together; this process is one of them."""

    ranks: tuple[int, ...]
    index: int
    """Of this process in ``ranks``."""
    group: dist.ProcessGroup | None
    """None where this process is alone."""

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.ranks)


@dataclass(frozen=True)
class Groups:
    """All groups that this process belongs to."""

    sizes: Sizes
    place: Place
    world: Group
    pipeline: Group
    """The stages of one network."""
    data: Group
    """Who reads other rows."""
    context: Group
    """Who reads other parts of the same rows."""
    tensor: Group
    dense: Group
    """Who holds the same part of every weight but experts: data x context."""
    experts: Group
    """Who together hold all experts: expert x tensor."""
    same_experts: Group
    """Who holds the same experts."""
    stage: Group
    """Who computes the same layers."""
    ends: Group
    """First and last stage, which share a tied embedding."""

    def grid(self, replicas: Group, cut: Group) -> list[list[int]]:
        """Ranks [replicas.size, cut.size] of this stage, of which this process is one."""
        keys = {self.dense: _dense_key, self.same_experts: _expert_key}
        key = keys[replicas]
        cells = {key(Place.of(rank, self.sizes), self.sizes): rank for rank in self.stage.ranks}
        return [[cells[i, j] for j in range(cut.size)] for i in range(replicas.size)]


def _dense_key(place: Place, sizes: Sizes) -> tuple[int, int]:
    return place.data * sizes.context + place.context, place.tensor


def _expert_key(place: Place, sizes: Sizes) -> tuple[int, int]:
    outer, inner = divmod(place.data, sizes.expert)
    return outer * sizes.context + place.context, inner * sizes.tensor + place.tensor


def alone() -> Groups:
    """A single process."""
    one = Group((0,), 0, None)
    sizes = Sizes(1, 1, 1, 1, 1)
    return Groups(sizes, Place(0, 0, 0, 0), *[one] * 10)


def build(sizes: Sizes, rank: int, patience: timedelta | None = None) -> Groups:
    """All groups; every process must call this at the same time, with the same sizes.

    In each, a process that does not answer for ``patience`` is given up.
    """
    places = {Place.of(r, sizes): r for r in range(sizes.processes)}
    here = Place.of(rank, sizes)

    def by(key: Callable[[Place], object]) -> Group:
        return _group_by(places, key, rank, patience)

    return Groups(
        sizes=sizes,
        place=here,
        world=by(lambda p: 0),
        pipeline=by(lambda p: (p.data, p.context, p.tensor)),
        data=by(lambda p: (p.pipeline, p.context, p.tensor)),
        context=by(lambda p: (p.pipeline, p.data, p.tensor)),
        tensor=by(lambda p: (p.pipeline, p.data, p.context)),
        dense=by(lambda p: (p.pipeline, p.tensor)),
        experts=by(lambda p: (p.pipeline, p.data // sizes.expert, p.context)),
        same_experts=by(lambda p: (p.pipeline, p.data % sizes.expert, p.tensor)),
        stage=by(lambda p: p.pipeline),
        ends=_ends(places, sizes, rank, patience),
    )


def _group_by(
    places: dict[Place, int],
    key: Callable[[Place], object],
    rank: int,
    patience: timedelta | None,
) -> Group:
    members: dict[object, list[int]] = {}
    for place, r in places.items():
        members.setdefault(key(place), []).append(r)
    return _make(members.values(), rank, patience)


def _ends(places: dict[Place, int], sizes: Sizes, rank: int, patience: timedelta | None) -> Group:
    last = sizes.pipeline - 1
    pairs = []
    for d, c, t in product(range(sizes.data), range(sizes.context), range(sizes.tensor)):
        ends = [places[Place(p, d, c, t)] for p in sorted({0, last})]
        pairs.append(ends)
        pairs += [[places[Place(p, d, c, t)]] for p in range(1, last)]
    return _make(pairs, rank, patience)


def _make(members: Iterable[list[int]], rank: int, patience: timedelta | None) -> Group:
    """Make every group (a collective act), keep the one that this rank is in."""
    found = None
    for ranks in members:
        group = dist.new_group(ranks, timeout=patience) if len(ranks) > 1 else None
        if rank in ranks:
            found = Group(tuple(ranks), ranks.index(rank), group)
    if found is None:
        raise RuntimeError(f"rank {rank} is in no group")
    return found
