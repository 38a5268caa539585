"""Fleets of several kinds of GPU: one cut of the model, a share of the batch for each kind.

Replicas add up their gradients weight by weight, so all of them cut the model in the same way
(tensor, context, pipeline, chunks, experts, ZeRO). Micro-batch, recomputation and the number of
micro-batches are each kind's own, so that all end a step at the same time. Gradients and weights
are exchanged among the replicas of all kinds, at the pace of the slowest network port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opencolossus.plan import cuts as cutting
from opencolossus.plan import filled
from opencolossus.plan.cuts import Indices, Ranked
from opencolossus.specs.run import Run
from opencolossus.step.columns import Array
from opencolossus.step.law import Cost
from opencolossus.step.layouts import Layouts
from opencolossus.step.memory import Memory

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

OPTIONS = 3
"""Micro-batches and recomputations that each kind tries with every cut, its fastest."""
AGAIN = 12
"""Cuts that are tried again with what was learnt about the speed of each kind."""


class Share(NamedTuple):
    """What one kind does."""

    found: Found
    one: Layouts
    cost: Cost
    held: Memory


@dataclass(frozen=True)
class Offers:
    """Ways in which one kind could work, one entry each."""

    found: Found
    cut: Indices
    """Which of the tried cuts."""
    index: Indices
    """Among the priced layouts."""
    layouts: Layouts
    """With all replicas that the kind has, and its own sequences."""
    seconds: Array


def split(found: Sequence[Found], run: Run) -> list[Share]:
    """Kinds that work, with what each does, so that together they train most tokens per second.

    A kind that would hold the others up, or that cannot hold one replica, gets no work.
    """
    orders = [cutting.ranked(item) for item in found]
    cuts = cutting.likely(found, orders)
    batch = run.batch_sequences
    first = _round(found, orders, cuts, [item.share for item in found], batch, range(2))
    rates, paces = _paces(first, cuts.size, batch)
    measured = _speeds(first, int(np.argmax(rates)))
    cuts = np.sort(cuts[np.argsort(-rates)[:AGAIN]])
    second = _round(found, orders, cuts, measured, batch, range(-2, 4))
    rates, paces = _paces(second, cuts.size, batch)
    cut = int(np.argmax(rates))
    return _shares([_chosen(offer, cut, float(paces[cut])) for offer in second], batch)


def _round(
    found: Sequence[Found],
    orders: Sequence[Ranked],
    cuts: Indices,
    speeds: Sequence[float],
    batch: int,
    around: range,
) -> list[Offers]:
    """Price what each kind could do, with micro-batches for a batch that is split by speed."""
    total = cutting.replicas(found, orders, cuts)
    return [
        _offers(item, order, found, cuts, total, _parts(speeds, place, batch), around)
        for place, (item, order) in enumerate(zip(found, orders, strict=True))
    ]


def _parts(speeds: Sequence[float], place: int, batch: int) -> list[float]:
    """Sequences of a kind that shares the batch with all as fast, and with slower ones too."""
    mine = speeds[place]
    others = [speed for number, speed in enumerate(speeds) if number != place]
    sums = [mine + sum(speed for speed in others if speed > mine)]
    for slower in sorted((speed for speed in others if speed <= mine), reverse=True):
        sums.append(sums[-1] + slower)
    return [batch * mine / one for one in sums]


def _speeds(offers: Sequence[Offers], cut: int) -> list[float]:
    """Sequences per second that each kind does at best with a cut."""
    speeds = []
    for offer in offers:
        at = offer.cut == cut
        done = offer.layouts.batch[at] / offer.seconds[at]
        speeds.append(float(done.max()) if at.any() else 1e-9)
    return speeds


def _offers(
    item: Found,
    order: Ranked,
    found: Sequence[Found],
    cuts: Indices,
    total: Array,
    parts: Sequence[float],
    around: range,
) -> Offers:
    """Price a kind's options with micro-batches ``around`` those that do ``parts`` sequences."""
    good = (order.place < OPTIONS) & np.isin(order.key, cuts)
    index, cut = order.index[good], np.searchsorted(cuts, order.key[good])
    layouts = item.priced.layouts.take(index)
    most = filled.most_replicas(layouts, item.carried)
    counts = []
    for part in parts:
        asked = np.floor(part / (most * layouts.micro_batch))
        for offset in around:
            wanted = np.maximum(asked + offset, 1.0)
            counts.append(filled.micro_batches(layouts, wanted, np.ceil))
        counts += [filled.multiples(layouts, asked, r) for r in (np.floor, np.ceil)]
    where = np.tile(np.arange(index.size), len(counts))
    micro = np.concatenate(counts)
    layouts, most = layouts.take(where), most[where]
    asked_of = replace(layouts, data=most, batch=most * layouts.micro_batch * micro)
    cost, held = price(item, found, asked_of, total[cut[where]])
    fits = item.pricing.fits(held.total)
    where = where[fits]
    return Offers(item, cut[where], index[where], asked_of.take(fits), cost.time[fits])


def price(
    item: Found, found: Sequence[Found], layouts: Layouts, total: Array | float
) -> tuple[Cost, Memory]:
    """What a kind's share of a step costs it in a job of ``total`` replicas of all ``found``.

    Its replicas are priced as members of a whole fleet of their kind, which has as many
    replicas; where another kind's ports are slower, the exchange between replicas is priced
    with theirs.
    """
    pricing = item.pricing
    job = replace(layouts, data=np.broadcast_to(total, layouts.data.shape) * 1.0)
    job = replace(job, batch=layouts.batch / layouts.data * job.data)
    gpus = sum(other.carried for other in found)
    machine = pricing.machine(item.cap, gpus)
    slowest = min(float(o.pricing.machine(o.cap, gpus).nic) for o in found)
    cost, held = pricing.detail(job, item.cap, gpus, machine)
    if slowest < float(machine.nic):
        slow = replace(machine, nic=np.asarray(slowest))
        exchanged, _ = pricing.detail(job, item.cap, gpus, slow)
        cost = replace(cost, data=np.maximum(cost.data, exchanged.data))
    return cost, held


def _paces(offers: Sequence[Offers], cuts: int, batch: int) -> tuple[Array, Array]:
    """Sequences per second of each cut at best, and the step time at which it does them."""
    rates, times = np.zeros(cuts), np.zeros(cuts)
    for cut in range(cuts):
        mine = [(offer, np.flatnonzero(offer.cut == cut)) for offer in offers]
        paces = np.unique(np.concatenate([offer.seconds[at] for offer, at in mine]))
        done = np.zeros(paces.size)
        for offer, at in mine:
            if at.size:
                order = at[np.argsort(offer.seconds[at], kind="stable")]
                most = np.maximum.accumulate(offer.layouts.batch[order])
                place = np.searchsorted(offer.seconds[order], paces, side="right")
                done += np.where(place > 0, most[np.maximum(place - 1, 0)], 0.0)
        used = np.where(done > (1 + filled.SLACK) * batch, float(batch), done)
        enough = done >= (1 - filled.SLACK) * batch
        rate = np.where(enough, used / paces, 1e-9 * done / paces) if paces.size else paces
        if rate.size:
            rates[cut], times[cut] = rate.max(), paces[int(np.argmax(rate))]
    return rates, times


def _chosen(offer: Offers, cut: int, pace: float) -> tuple[Found, Layouts] | None:
    """The way in which a kind does most sequences within ``pace`` s; none where it cannot."""
    at = np.flatnonzero((offer.cut == cut) & (offer.seconds <= pace))
    if at.size == 0:
        return None
    most = offer.layouts.batch[at]
    place = int(at[np.lexsort((offer.seconds[at], -most))[0]])
    found = replace(offer.found, best=int(offer.index[place]))
    return found, offer.layouts.take(slice(place, place + 1))


def _shares(chosen: Sequence[tuple[Found, Layouts] | None], batch: int) -> list[Share]:
    """Trim to the batch and price what is left, among the replicas that are left."""
    working = [one for one in chosen if one is not None]
    surplus = sum(float(one.batch[0]) for _, one in working) - batch
    if surplus > filled.SLACK * batch:
        working = _trimmed(working, surplus)
    found = [item for item, _ in working]
    total = sum(float(one.data[0]) for _, one in working)
    return [Share(item, one, *price(item, found, one, total)) for item, one in working]


def _trimmed(
    working: Sequence[tuple[Found, Layouts]], surplus: float
) -> list[tuple[Found, Layouts]]:
    """Fewer replicas where the batch has no work for all: those that use most watts first."""

    def watts(pair: tuple[Found, Layouts]) -> float:
        item, one = pair
        return float(item.cap * item.priced.seconds[item.best] * one.gpus[0] / one.batch[0])

    kept = []
    for item, one in sorted(working, key=watts, reverse=True):
        group = float(filled.expert_group(one)[0])
        unit = group * float(one.batch[0] / one.data[0])
        groups = min(max(np.floor(surplus / unit), 0.0), float(one.data[0]) / group)
        surplus -= groups * unit
        data = one.data - groups * group
        if data[0] >= 1:
            kept.append((item, replace(one, data=data, batch=one.batch / one.data * data)))
    return kept
