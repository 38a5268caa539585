"""The layouts next to the chosen one, and why each lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import lattice
from opencolossus.plan.differences import AXES, PARTS, change, reason
from opencolossus.plan.plan import Alternative, Plan
from opencolossus.plan.pricing import HEADROOM
from opencolossus.plan.stored import WAYS
from opencolossus.specs.units import SIZE, show
from opencolossus.step.columns import Array
from opencolossus.step.law import Cost
from opencolossus.step.layouts import Layouts

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

COUNT = 10


def nearest(found: Found, plan: Plan) -> tuple[Alternative, ...]:
    """Up to ten layouts that differ from the chosen one in one dimension, nearest first.

    Where none differs in that dimension alone, the other dimensions may follow: the fastest with
    the changed value is taken then.
    """
    best = found.priced.layouts.take(slice(found.best, found.best + 1))
    close, misses = _same(found.priced.layouts, best), _misses(found, best)
    offers: list[_Offer] = []
    for axis in AXES:
        here = float(getattr(best, axis)[0])
        values = found.layouts.values(axis)
        below, above = values[values < here], values[values > here]
        for value in (*below[-2:][::-1], *above[:2]):
            one = _offer(found, axis, here, float(value), close[axis], misses)
            if one is not None:
                offers.append(one)
    offers.sort(key=lambda one: (one.distance, one.too_large))
    distinct = {(one.too_large, one.index): one for one in reversed(offers)}  # the nearest stays
    return _described(found, plan, [one for one in offers if one in distinct.values()][:COUNT])


@dataclass(frozen=True)
class _Offer:
    """A neighbour: its index among the layouts that fit, or among all if it is too large."""

    axis: str
    value: float
    distance: float
    index: int
    too_large: bool


@dataclass(frozen=True)
class _Misses:
    """Layouts near the best that do not fit."""

    index: NDArray[np.intp]
    """Among all."""
    layouts: Layouts
    needed: Array
    """Bytes."""
    same: dict[str, NDArray[np.bool_]]


def _misses(found: Found, best: Layouts) -> _Misses:
    """Those whose cuts differ from the best along one dimension at most, a few of very many."""
    every = found.layouts
    axes = [axis for axis in AXES if axis not in WAYS]
    unlike = [getattr(every.cuts, axis) != getattr(best, axis)[0] for axis in axes]
    near = np.sum(unlike, axis=0) <= 1
    index = np.flatnonzero(near[every.cut] & ~found.pricing.fits(found.held))
    layouts = every.take(index)
    return _Misses(index, layouts, found.held[index], _same(layouts, best))


def _distance(axis: str, here: float, there: float) -> float:
    if axis in ("zero", "recompute", "schedule"):
        return abs(here - there)
    return abs(float(np.log2(there / here)))


def _offer(
    found: Found,
    axis: str,
    here: float,
    value: float,
    close: NDArray[np.bool_],
    misses: _Misses,
) -> _Offer | None:
    """The layout with ``axis`` at ``value``: the same otherwise, or the fastest there is."""
    far = _distance(axis, here, value)
    there = getattr(found.priced.layouts, axis) == value
    same = close & there
    if same.any():
        rate = np.where(same, found.priced.tokens_per_second, 0.0)
        return _Offer(axis, value, far, int(np.argmax(rate)), False)
    large = misses.same[axis] & (getattr(misses.layouts, axis) == value)
    if large.any():
        leanest = int(np.argmin(np.where(large, misses.needed, np.inf)))
        return _Offer(axis, value, far, int(misses.index[leanest]), True)
    if not there.any():
        return None
    rate = np.where(there, found.priced.tokens_per_second, 0.0)
    return _Offer(axis, value, far, int(np.argmax(rate)), False)


def _same(layouts: Layouts, best: Layouts) -> dict[str, NDArray[np.bool_]]:
    """For each axis, which layouts equal the best along all others."""
    differs = np.zeros(layouts.tensor.shape, dtype=np.int64)
    unlike = {axis: getattr(layouts, axis) != getattr(best, axis)[0] for axis in AXES}
    for mask in unlike.values():
        differs += mask
    return {axis: differs == mask for axis, mask in unlike.items()}


def _described(found: Found, plan: Plan, offers: list[_Offer]) -> tuple[Alternative, ...]:
    """Price the neighbours that fit in one call, and say why each lost."""
    fitting = [one for one in offers if not one.too_large]
    index = np.array([found.best, *[one.index for one in fitting]])
    layouts = found.priced.layouts.take(index)
    cost, _ = found.pricing.detail(layouts, found.cap, found.gpus)
    described = {
        id(one): _slower(found, plan, one, layouts, cost, place + 1)
        for place, one in enumerate(fitting)
    }
    for one in offers:
        if one.too_large:
            described[id(one)] = _too_large(found, plan, one)
    return tuple(described[id(one)] for one in offers)


def _slower(
    found: Found, plan: Plan, one: _Offer, layouts: Layouts, cost: Cost, place: int
) -> Alternative:
    layout, data, _ = lattice.at(layouts, place)
    ratio = float(layouts.batch[place] / layouts.batch[0])  # to the same number of tokens
    count = layouts.tensor.size
    parts = {name: np.broadcast_to(getattr(cost, name), (count,)) for name in PARTS}
    gains = {name: float(part[place]) / ratio - float(part[0]) for name, part in parts.items()}
    rate = found.priced.tokens_per_second
    of_all = plan.gpus / float(layouts.gpus[0])  # below 1 where other kinds do the rest
    others = round(of_all * float(layouts.gpus[place]))
    return Alternative(
        layout=layout,
        data_parallel=round(of_all * data),
        gpus=others,
        step_time=float(cost.time[place]),
        tokens_per_second=float(plan.tokens_per_second * rate[one.index] / rate[found.best]),
        memory=float(found.priced.memory[one.index]),
        change=change(one.axis, one.value, layouts.take(np.array([0, place]))),
        why=reason(gains, float(cost.time[0]), plan.gpus, others),
    )


def _too_large(found: Found, plan: Plan, one: _Offer) -> Alternative:
    chosen = found.layouts.take([one.index])
    layout, data, _ = lattice.at(chosen, 0)
    need, limit = float(found.held[one.index]), HEADROOM * found.pricing.pool.node.gpu.memory
    best = found.priced.layouts.take(slice(found.best, found.best + 1))
    of_all = plan.gpus / float(best.gpus[0])
    return Alternative(
        layout=layout,
        data_parallel=round(of_all * data),
        gpus=round(of_all * float(chosen.gpus[0])),
        step_time=None,
        tokens_per_second=None,
        memory=need,
        change=change(one.axis, one.value, Layouts.join([best, chosen])),
        why=f"does not fit: needs {show(need, SIZE, 3)}, {show(need - limit, SIZE, 2)} too much",
    )
