"""A layout is checked against model and processes, or refused with the nearest that can be."""

from __future__ import annotations

from itertools import product

from opencolossus.specs.counts import divisors
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run
from opencolossus.train.parallel.layout import Sizes, describe, fault, sizes

SIZES = (
    "tensor_parallel",
    "context_parallel",
    "pipeline_parallel",
    "virtual_stages",
    "expert_parallel",
    "micro_batch",
)


def check(layout: Layout, model: Model, run: Run, processes: int) -> Sizes:
    """The sizes of a layout that can train the model.

    Raises:
        UserError: it cannot; the text gives the reason and the nearest layout that can.
    """
    wrong = fault(layout, model, run, processes)
    if wrong is None:
        return sizes(layout, processes)
    near = nearest(layout, model, run, processes)
    help_ = f"; the nearest that can: --layout {describe(near)}" if near else ""
    count = "1 process" if processes == 1 else f"{processes} processes"
    raise UserError(f"layout {describe(layout)} on {count}: {wrong}{help_}")


def nearest(layout: Layout, model: Model, run: Run, processes: int) -> Layout | None:
    """The possible layout with the fewest and smallest changes."""
    for candidates in (_same_sizes(layout), _other_sizes(layout, processes)):
        possible = [c for c in candidates if fault(c, model, run, processes) is None]
        if possible:
            return min(possible, key=lambda c: _distance(c, layout))
    return None


def _same_sizes(layout: Layout) -> list[Layout]:
    """What differs in micro-batch and sharing only."""
    rows = [layout.micro_batch >> i for i in range(layout.micro_batch.bit_length())]
    sharing = {(layout.zero, layout.shard_group), (layout.zero, 0), (min(layout.zero, 1), 0)}
    return [
        layout.model_copy(update={"micro_batch": mb, "zero": zero, "shard_group": shard})
        for mb, (zero, shard) in product(rows, sharing)
    ]


def _other_sizes(layout: Layout, processes: int) -> list[Layout]:
    ways = divisors(processes)
    relaxed = {"zero": min(layout.zero, 1), "shard_group": 0, "micro_batch": 1}
    return [
        layout.model_copy(
            update={
                "tensor_parallel": tp,
                "context_parallel": cp,
                "pipeline_parallel": pp,
                "expert_parallel": ep,
                "virtual_stages": vs,
            }
            | more
        )
        for tp, cp, pp, ep in product(ways, repeat=4)
        if processes % (tp * cp * pp) == 0
        for vs in {1, layout.virtual_stages}
        for more in ({}, relaxed)
    ]


def _distance(a: Layout, b: Layout) -> tuple[int, float]:
    pairs = [(getattr(a, name), getattr(b, name)) for name in SIZES]
    pairs += [(a.zero + 1, b.zero + 1), (a.shard_group + 1, b.shard_group + 1)]
    return sum(x != y for x, y in pairs), sum(max(x, y) / min(x, y) for x, y in pairs)
