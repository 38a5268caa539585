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
class Replicas:
    """Ranks that hold the same piece of weights, and how they share what they keep of it."""

    all: Group
    share: Group
    """Who shares one copy of states, gradients or weights (ZeRO)."""
    copies: Group
    """Who holds the same share: more than one where sharing stops short of all (HSDP)."""

    def grid(self) -> list[list[int]]:
        """Ranks [copies, share]."""
        size = self.share.size
        return [list(self.all.ranks[i : i + size]) for i in range(0, self.all.size, size)]


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
    dense: Replicas
    """Who holds the same part of every weight but experts: data x context."""
    experts: Group
    """Who together hold all experts: expert x tensor."""
    same_experts: Replicas
    """Who holds the same experts."""
    stage: Group
    """Who computes the same layers."""
    ends: Group
    """First and last stage, which share a tied embedding."""

    def grid(self, replicas: Replicas, cut: Group) -> list[list[int]]:
        """Ranks [share, cut] that together hold one copy of a weight; this process among them."""
        key = _dense_key if replicas is self.dense else _expert_key
        cells = {key(Place.of(rank, self.sizes), self.sizes): rank for rank in self.stage.ranks}
        size = replicas.share.size
        first = replicas.all.index // size * size
        return [[cells[first + i, j] for j in range(cut.size)] for i in range(size)]


def _dense_key(place: Place, sizes: Sizes) -> tuple[int, int]:
    return place.data * sizes.context + place.context, place.tensor


def _expert_key(place: Place, sizes: Sizes) -> tuple[int, int]:
    outer, inner = divmod(place.data, sizes.expert)
    return outer * sizes.context + place.context, inner * sizes.tensor + place.tensor


def alone() -> Groups:
    """A single process."""
    one = Group((0,), 0, None)
    same = Replicas(one, one, one)
    sizes = Sizes(1, 1, 1, 1, 1)
    place = Place(0, 0, 0, 0)
    return Groups(sizes, place, one, one, one, one, one, same, one, same, one, one)


def build(sizes: Sizes, rank: int, patience: timedelta | None = None) -> Groups:
    """All groups; every process must call this at the same time, with the same sizes.

    In each, a process that does not answer for ``patience`` is given up.
    """
    makers = _Makers(sizes, rank, patience)
    by = makers.by
    return Groups(
        sizes=sizes,
        place=Place.of(rank, sizes),
        world=by(lambda p: 0),
        pipeline=by(lambda p: (p.data, p.context, p.tensor)),
        data=by(lambda p: (p.pipeline, p.context, p.tensor)),
        context=by(lambda p: (p.pipeline, p.data, p.tensor)),
        tensor=by(lambda p: (p.pipeline, p.data, p.context)),
        dense=makers.replicas(lambda p: (p.pipeline, p.tensor)),
        experts=by(lambda p: (p.pipeline, p.data // sizes.expert, p.context)),
        same_experts=makers.replicas(lambda p: (p.pipeline, p.data % sizes.expert, p.tensor)),
        stage=by(lambda p: p.pipeline),
        ends=makers.ends(),
    )


class _Makers:
    """Makes groups (a collective act); ranks that meet for several reasons get one group."""

    def __init__(self, sizes: Sizes, rank: int, patience: timedelta | None) -> None:
        self.sizes, self.rank, self.patience = sizes, rank, patience
        self.places = {Place.of(r, sizes): r for r in range(sizes.processes)}
        self._made: dict[tuple[int, ...], dist.ProcessGroup] = {}

    def by(self, key: Callable[[Place], object]) -> Group:
        """Ranks with the same key."""
        return self._make(self._members(key))

    def replicas(self, key: Callable[[Place], object]) -> Replicas:
        """Ranks with the same key, neighbours among them sharing."""
        members = self._members(key)
        size = min(self.sizes.share or len(members[0]), len(members[0]))
        shares = [m[i : i + size] for m in members for i in range(0, len(m), size)]
        copies = [m[i::size] for m in members for i in range(size)]
        return Replicas(self._make(members), self._make(shares), self._make(copies))

    def ends(self) -> Group:
        """First and last stage of each pipeline."""
        sizes, last = self.sizes, self.sizes.pipeline - 1
        pairs = []
        for d, c, t in product(range(sizes.data), range(sizes.context), range(sizes.tensor)):
            pairs.append([self.places[Place(p, d, c, t)] for p in sorted({0, last})])
            pairs += [[self.places[Place(p, d, c, t)]] for p in range(1, last)]
        return self._make(pairs)

    def _members(self, key: Callable[[Place], object]) -> list[list[int]]:
        members: dict[object, list[int]] = {}
        for place, rank in self.places.items():
            members.setdefault(key(place), []).append(rank)
        return list(members.values())

    def _make(self, members: Iterable[list[int]]) -> Group:
        """Make every group, keep the one that this rank is in."""
        found = None
        for ranks in members:
            group = self._group(tuple(ranks))
            if self.rank in ranks:
                found = Group(tuple(ranks), ranks.index(self.rank), group)
        if found is None:
            raise RuntimeError(f"rank {self.rank} is in no group")
        return found

    def _group(self, ranks: tuple[int, ...]) -> dist.ProcessGroup | None:
        if len(ranks) == 1:
            return None
        if ranks not in self._made:
            self._made[ranks] = dist.new_group(list(ranks), timeout=self.patience)
        return self._made[ranks]
