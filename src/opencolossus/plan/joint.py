"""Layouts, GPUs and power cap of one kind of GPU, searched together.

Every valid layout is priced at the numbers of GPUs and caps that the site can carry: the whole
lattice once at the likeliest cap, the best few hundred at every cap, and the whole lattice again
at the cap that won.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import lattice, trouble
from opencolossus.plan.fleet import Fleet, whole
from opencolossus.plan.pricing import Priced, Pricing
from opencolossus.plan.stored import Stored
from opencolossus.power.caps import speed_at_cap
from opencolossus.specs.errors import UserError
from opencolossus.step.columns import Array

SHORTLIST = 256
AtCap = tuple[float, int, Priced, int]
"""Cap, GPUs priced, the shortlist priced there, and the best of it."""


@dataclass(frozen=True)
class Found:
    """What the joint search settled on."""

    pricing: Pricing
    cap: float
    carried: int
    """GPUs that the site carries at the cap."""
    share: float
    """What this kind could do of the work of all kinds together; 1 where it is the only one."""
    gpus: int
    """GPUs that layouts are priced on: those carried, or in a mixed fleet as many of this kind
    as would do the work of all kinds together."""
    priced: Priced
    """Every layout that fits, at that cap."""
    layouts: Stored
    """Every layout, also those that do not fit."""
    held: Array
    """Bytes that each of them needs."""
    best: int
    """Index of the chosen layout."""
    caps: Array
    counts: Array
    """GPUs that the site carries at each of ``caps``."""
    shortlist: Priced
    at_caps: tuple[AtCap, ...]

    @cached_property
    def ranked(self) -> NDArray[np.intp]:
        """Indices of the layouts, the fastest first."""
        return np.argsort(-self.priced.tokens_per_second, kind="stable")


def strength(pricing: Pricing, fleet: Fleet, name: str) -> float:
    """FLOP/s that a pool reaches at its likeliest cap.

    Raises:
        UserError: the power does not carry one server, or the GPU lacks the precision.
    """
    caps, counts = fleet.carried(name)
    if counts.max() < 1:
        raise UserError(trouble.too_little_power(fleet, name))
    speed = counts * speed_at_cap(pricing.pool.node.gpu, caps)
    machine = pricing.machine(float(caps[-1]), pricing.pool.gpus)
    return float(speed.max() * machine.peak * machine.matrix)


def search(
    pricing: Pricing,
    fleet: Fleet,
    name: str,
    share: float,
    schedules: Sequence[str],
    detail: bool,
) -> Found:
    """Search layouts, GPUs and cap of one pool together.

    A pool that does ``share`` of the work is searched as if the whole fleet were of its kind.
    """
    pool = fleet.pools[name]
    caps, counts = fleet.carried(name)
    fleets = np.array([whole(pool, count / share) for count in counts])
    likely = int(np.argmax(counts * speed_at_cap(pool.node.gpu, caps)))
    first, layouts, held = _whole_lattice(
        pricing, float(caps[likely]), int(fleets[likely]), schedules
    )
    short = _shortlist(first)
    wanted = (fleets >= 1) & (detail | _worth_trying(counts))
    tried = _at_caps(pricing, short, caps[wanted], fleets[wanted])
    scores = [_score(pricing, fleet, share, item) for item in tried]
    cap, count, _, _ = tried[int(np.argmax(scores))]
    last = first
    if cap != float(caps[likely]):
        last, layouts, held = _whole_lattice(pricing, cap, count, schedules)
    best = int(np.argmax(last.tokens_per_second))
    carried = int(counts[int(np.flatnonzero(caps == cap)[0])])
    return Found(
        pricing,
        cap,
        carried,
        share,
        count,
        last,
        layouts,
        held,
        best,
        caps,
        counts,
        short,
        tuple(tried),
    )


def _at_caps(pricing: Pricing, short: Priced, caps: Array, fleets: Array) -> list[AtCap]:
    """The shortlist at each cap, on as many GPUs as work there, and the best of it."""
    tries = zip(caps.tolist(), fleets.astype(int).tolist(), strict=True)
    tried = []
    for cap, count, priced in pricing.price_filled(short.layouts, tries):
        rate = np.where(pricing.fits(priced.memory), priced.tokens_per_second, 0.0)
        tried.append((cap, count, priced, int(np.argmax(rate))))
    return tried


def _worth_trying(counts: Array) -> NDArray[np.bool_]:
    """Caps at which more GPUs run than at every higher cap; the others are slower."""
    higher = np.append(np.maximum.accumulate(counts[::-1])[::-1][1:], 0.0)
    return np.asarray(counts > higher)


def _score(pricing: Pricing, fleet: Fleet, share: float, item: AtCap) -> float:
    """Tokens per second of the calendar for one cap."""
    _, _, priced, best = item
    if not pricing.fits(priced.memory)[best]:
        return 0.0
    layouts = priced.layouts
    left, _ = fleet.survival(
        pricing.pool,
        int(share * layouts.gpus[best]),
        pricing.model,
        int(layouts.data[best]),
        float(priced.seconds[best]),
    )
    return float(priced.tokens_per_second[best]) * left


def _whole_lattice(
    pricing: Pricing, cap: float, count: int, schedules: Sequence[str]
) -> tuple[Priced, Stored, Array]:
    """The layouts that fit, with their prices; all layouts, and the bytes of each."""
    model, run, pool = pricing.model, pricing.run, pricing.pool
    usable = whole(pool, count)
    grid = lattice.axes(model, run, pool.node, usable, schedules)
    layouts = lattice.stored(grid, model.layers, run.batch_sequences, usable)
    if layouts.size == 0:
        raise UserError(trouble.no_layout(pricing, grid, usable))
    held = pricing.held(layouts)
    good = pricing.fits(held)
    if not good.any():
        raise UserError(trouble.too_little_memory(pricing, layouts, held, usable, schedules))
    priced = pricing.price(layouts.take(good), cap, usable, held=held[good])
    return priced, layouts, held


def _top(values: Array, count: int) -> NDArray[np.intp]:
    """Indices of the largest ``count`` values."""
    count = min(count, values.size)
    return np.argpartition(-values, count - 1)[:count]


def _shortlist(priced: Priced) -> Priced:
    """The fastest layout of each cut that fits, and the fastest of those that need least memory.

    Other numbers of GPUs divide by other cuts, so that one of each kind is kept.
    """
    rate = priced.tokens_per_second
    cut = (priced.layouts.tensor * 128 + priced.layouts.context) * 1024 + priced.layouts.pipeline
    order = np.argsort(-rate, kind="stable")
    _, first = np.unique(cut[order], return_index=True)
    rate = rate.copy()
    rate[order[first]] *= 2
    lean = np.where(priced.memory <= np.quantile(priced.memory, 0.05), rate, 0.0)
    chosen = np.unique(np.concatenate([_top(rate, SHORTLIST * 3 // 4), _top(lean, SHORTLIST // 4)]))
    return replace(
        priced,
        layouts=priced.layouts.take(chosen),
        seconds=priced.seconds[chosen],
        memory=priced.memory[chosen],
        gpu_power=priced.gpu_power[chosen],
    )
