"""Fleets of several kinds of GPU: one cut of the model, a share of the batch for each kind.

Replicas add up their gradients weight by weight, so all of them cut the model in the same way
(tensor, context, pipeline, chunks, experts, ZeRO). Micro-batch and recomputation are each kind's
own, and each gets the share of the sequences that it finishes in the same time as the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import lattice
from opencolossus.plan.fleet import whole
from opencolossus.specs.run import Run
from opencolossus.step.layouts import Layouts

if TYPE_CHECKING:
    from opencolossus.plan.search import Found

TRIED = 48
"""Common cuts that are priced with the batch split."""
CUT = ("tensor", "context", "pipeline", "virtual", "expert", "zero", "schedule")


def split(found: Sequence[Found], run: Run) -> list[Layouts]:
    """One layout for each kind of GPU, so that together they train most tokens per second.

    A kind that no common cut fits gets no work (a layout of length 0).
    """
    if len(found) == 1:
        best = found[0].best
        return [found[0].priced.layouts.take(slice(best, best + 1))]
    keys = [_keys(item.priced.layouts) for item in found]
    common = set(keys[0].tolist())
    for other in keys[1:]:
        common &= set(other.tolist())
    if not common:
        return _alone(found)
    best_alone = max(range(len(found)), key=lambda i: _rate(found[i]))
    tried = _likeliest(found, keys, common)
    offers = [_share_out(found, keys, cut, run) for cut in tried]
    speeds = [_together(found, offer) for offer in offers]
    if not speeds or max(speeds) < _rate(found[best_alone]):
        return _alone(found)
    return offers[int(np.argmax(speeds))]


def step_times(found: Sequence[Found], layouts: Sequence[Layouts]) -> list[float]:
    """Seconds of each kind's part of a step; 0 where it has none."""
    times = []
    for item, one in zip(found, layouts, strict=True):
        if one.length and one.tensor.size:
            cost, _ = item.pricing.detail(one, item.cap, item.gpus)
            times.append(float(cost.time[0]))
        else:
            times.append(0.0)
    return times


def _rate(item: Found) -> float:
    return float(item.priced.tokens_per_second[item.best])


def _keys(layouts: Layouts) -> NDArray[np.int64]:
    """One integer per layout that tells its cut."""
    key = np.zeros(layouts.tensor.shape, dtype=np.int64)
    for name in CUT:
        key = key * 512 + np.asarray(getattr(layouts, name)).astype(np.int64)
    return key


def _alone(found: Sequence[Found]) -> list[Layouts]:
    """The fastest kind works, the others rest."""
    fastest = max(range(len(found)), key=lambda i: _rate(found[i]))
    return [
        item.priced.layouts.take(slice(item.best, item.best + (i == fastest)))
        for i, item in enumerate(found)
    ]


def _likeliest(
    found: Sequence[Found], keys: Sequence[NDArray[np.int64]], common: set[int]
) -> list[int]:
    """The common cuts whose kinds are fastest by themselves, added up."""
    total: dict[int, float] = dict.fromkeys(common, 0.0)
    for item, key in zip(found, keys, strict=True):
        order = np.argsort(item.priced.tokens_per_second)
        best = dict(
            zip(key[order].tolist(), item.priced.tokens_per_second[order].tolist(), strict=True)
        )
        for cut in common:
            total[cut] += best[cut]
    return sorted(total, key=lambda cut: -total[cut])[:TRIED]


def _share_out(
    found: Sequence[Found], keys: Sequence[NDArray[np.int64]], cut: int, run: Run
) -> list[Layouts]:
    """Split the batch by speed and choose each kind's micro-batch and recomputation anew."""
    rates = np.array(
        [
            float(np.max(item.priced.tokens_per_second[key == cut]))
            for item, key in zip(found, keys, strict=True)
        ]
    )
    chosen = []
    for item, key, share in zip(found, keys, rates / rates.sum(), strict=True):
        part = max(round(run.batch_sequences * float(share)), 1)
        options = lattice.spread(
            item.priced.layouts.take(key == cut), part, whole(item.pricing.pool, item.gpus)
        )
        priced = item.pricing.price(options, item.cap, item.gpus)
        best = int(np.argmin(priced.seconds * part / options.batch))
        chosen.append(options.take(slice(best, best + 1)))
    return chosen


def _together(found: Sequence[Found], layouts: Sequence[Layouts]) -> float:
    """Tokens per second of all kinds, the slowest setting the pace."""
    times = step_times(found, layouts)
    sequences = sum(float(one.batch[0]) for one in layouts if one.tensor.size)
    return sequences * found[0].priced.sequence / max(times)
