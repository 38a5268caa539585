"""What each input is worth: the plan searched again with one of them changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from opencolossus.plan import filled
from opencolossus.plan.fleet import Fleet, whole
from opencolossus.plan.plan import Plan, Sensitivity
from opencolossus.plan.pricing import HEADROOM, Pricing
from opencolossus.specs.document import Description
from opencolossus.specs.hardware import is_cpu
from opencolossus.step.columns import Array
from opencolossus.step.layouts import Layouts

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

MORE = 1.1
MACHINE = (
    ("peak FLOP/s", ("peak", "peak16")),
    ("memory bandwidth", ("memory_bandwidth",)),
    ("scale-up bandwidth", ("link",)),
    ("NIC bandwidth", ("nic",)),
)
BETWEEN = ("link", "nic")
"""What only several devices use."""
NEWCOMERS = 4096
"""Layouts that more memory lets in, of which as many as this are tried."""


def sensitivities(
    plan: Plan, description: Description, fleet: Fleet, found: Found
) -> tuple[Sensitivity, ...]:
    """Relative change of tokens per day for each input, largest first."""
    items = [*_of_machine(plan, found), *_of_code(plan, found)]
    items += _of_site(plan, description, fleet, found)
    items += _of_survival(plan, fleet, found)
    return tuple(sorted(items, key=lambda item: -abs(item.tokens)))


def _best(pricing: Pricing, found: Found, layouts: Layouts, **changes: Array) -> float:
    """Highest tokens per second of ``layouts`` on a machine with some numbers changed."""
    machine = replace(pricing.machine(found.cap, found.gpus), **changes)
    priced = pricing.price(layouts, found.cap, found.gpus, machine)
    rate = np.where(pricing.fits(priced.memory), priced.tokens_per_second, 0.0)
    return float(np.max(rate, initial=0.0))


def _base(found: Found) -> float:
    """Tokens per second of the fastest layout as things are."""
    return float(np.max(found.priced.tokens_per_second))


def _candidates(found: Found) -> Layouts:
    """The fastest layouts at the chosen cap, which another input could put first."""
    return found.priced.layouts.take(found.ranked[:256])


def _of_machine(plan: Plan, found: Found) -> Iterator[Sensitivity]:
    pricing, layouts = found.pricing, _candidates(found)
    base = pricing.machine(found.cap, found.gpus)
    for name, columns in MACHINE:
        if found.gpus == 1 and columns[0] in BETWEEN:
            continue
        changes = {column: getattr(base, column) * MORE for column in columns}
        rate = _best(pricing, found, layouts, **changes)
        yield Sensitivity(input=name, change="+10 %", tokens=rate / _base(found) - 1)
    rate = max(_base(found), _with_more_memory(found))
    device = "CPU" if is_cpu(found.pricing.pool.node.gpu.name) else "GPU"
    yield Sensitivity(input=f"{device} memory", change="+10 %", tokens=rate / _base(found) - 1)


def _with_more_memory(found: Found) -> float:
    """Highest tokens per second among the layouts that a tenth more memory lets in."""
    limit = HEADROOM * found.pricing.pool.node.gpu.memory
    near = np.flatnonzero(~found.pricing.fits(found.held) & (found.held <= MORE * limit))
    if near.size == 0:
        return 0.0
    near = near[:: max(near.size // NEWCOMERS, 1)]
    priced = found.pricing.price(found.layouts.take(near), found.cap, found.gpus)
    return float(np.max(priced.tokens_per_second))


def _of_code(plan: Plan, found: Found) -> Iterator[Sensitivity]:
    pricing, layouts = found.pricing, _candidates(found)
    gaps = pricing.with_code(
        gap=float(pricing.code.gap) / 2, expert_gap=float(pricing.code.expert_gap) / 2
    )
    halved = "halved" if is_cpu(pricing.pool.node.gpu.name) else "halved (CUDA graphs)"
    tries = [("kernel start gaps", halved, gaps)]
    if pricing.model.experts:
        tries.append(("routing imbalance", "none", pricing.with_code(imbalance=1.0)))
    run, node = pricing.run, pricing.pool.node
    if run.precision in ("bf16", "fp16") and "fp8" in node.gpu.flops:
        low = run.model_copy(update={"precision": "fp8"})
        tries.append(
            (
                "precision of linear layers",
                "FP8",
                Pricing.of(
                    pricing.model,
                    low,
                    pricing.cluster,
                    pricing.pool,
                    pricing.software,
                    pricing.calibration,
                ),
            )
        )
    for name, change, changed in tries:
        rate = _best(changed, found, layouts)
        yield Sensitivity(input=name, change=change, tokens=rate / _base(found) - 1)


def _of_site(
    plan: Plan, description: Description, fleet: Fleet, found: Found
) -> Iterator[Sensitivity]:
    """More power, and a larger batch."""
    pricing, batch = found.pricing, description.run.batch_sequences
    wider = filled.spread(_candidates(found), 2 * batch, whole(pricing.pool, found.gpus))
    rate = _best(pricing, found, wider)
    yield Sensitivity(input="batch", change="doubled", tokens=rate / _base(found) - 1)
    yield from _more_gpus(found, batch)
    if fleet.limit is None:
        return
    name = fleet.name_of(pricing.pool)
    caps, counts = replace(fleet, limit=fleet.limit * MORE).carried(name)
    fleets = [whole(pricing.pool, count / found.share) for count in counts]
    tries = list(zip(caps.tolist(), fleets, strict=True))[::2]
    best = 0.0
    for _, _, priced in pricing.price_filled(found.shortlist.layouts, tries):
        rates = np.where(pricing.fits(priced.memory), priced.tokens_per_second, 0.0)
        best = max(best, float(rates.max()))
    best = max(best, _base(found))
    yield Sensitivity(input="power", change="+10 %", tokens=best / _base(found) - 1)


def _more_gpus(found: Found, batch: int) -> Iterator[Sensitivity]:
    """A tenth more GPUs with the power that they take, where whole servers make that."""
    more = whole(found.pricing.pool, MORE * found.gpus)
    if more <= found.gpus:
        return
    wider = filled.spread(found.priced.layouts.take(found.ranked[:NEWCOMERS]), batch, more)
    if wider.tensor.size:
        priced = found.pricing.price(wider, found.cap, more)
        fits = found.pricing.fits(priced.memory)
        rate = max(float(np.max(np.where(fits, priced.tokens_per_second, 0.0))), _base(found))
        change = rate / _base(found) - 1
        yield Sensitivity(input="GPUs and their power", change="+10 %", tokens=change)


def _of_survival(plan: Plan, fleet: Fleet, found: Found) -> Iterator[Sensitivity]:
    """Half the failures, half the time to restart: first order in what they cost."""
    if fleet.day is None or plan.goodput <= 0:
        return
    survival = plan.survival
    lost = survival.restart / survival.mttf
    yield Sensitivity(
        input="restart time", change="halved", tokens=(plan.goodput + lost / 2) / plan.goodput - 1
    )
    halved = (plan.goodput + (1 - plan.goodput) / 2) / plan.goodput - 1
    yield Sensitivity(input="failure rate", change="halved", tokens=halved)
