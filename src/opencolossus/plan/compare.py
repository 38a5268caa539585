"""What surrounds a plan: other caps, other layouts and why they lost, what inputs are worth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from opencolossus.plan import alternatives, lattice, sensitivity, supply
from opencolossus.plan.fleet import Fleet, whole
from opencolossus.plan.plan import CapPoint, ParetoPoint, Plan
from opencolossus.plan.pricing import Priced
from opencolossus.specs.document import Description
from opencolossus.specs.units import COUNT, DAY, POWER, show

if TYPE_CHECKING:
    from opencolossus.plan.search import Found

FLAT = 0.02
"""Differences in speed below this are well within the error of any plan."""
FRACTIONS = (0.4, 0.6, 0.8)
"""Shares of the GPUs that the Pareto front also tries, beside all of them."""


def detailed(plan: Plan, description: Description, fleet: Fleet, found: Found) -> Plan:
    """The plan with its surroundings."""
    points = [point for point in _at_caps(description, fleet, found) if point is not None]
    return plan.model_copy(
        update={
            "curve": tuple(points),
            "pareto": tuple(front([*points, *_with_fewer(description, fleet, found)])),
            "alternatives": alternatives.nearest(found),
            "sensitivities": sensitivity.sensitivities(plan, description, fleet, found),
            "advice": (
                *advice(plan, description, found.gpus),
                *flatness(points),
                *growth(plan, description, fleet),
            ),
        }
    )


def _at_caps(description: Description, fleet: Fleet, found: Found) -> Iterator[CapPoint | None]:
    for cap, _, priced, best in found.at_caps:
        yield point(description, fleet, found, cap, priced, best)


def _with_fewer(description: Description, fleet: Fleet, found: Found) -> Iterator[CapPoint]:
    """Points with a part of the GPUs, at every fourth cap."""
    pricing, batch = found.pricing, description.run.batch_sequences
    items = [
        (lattice.spread(found.shortlist.layouts, batch, gpus), cap, gpus)
        for cap, count, _, _ in found.at_caps[::3]
        for fraction in FRACTIONS
        if (gpus := whole(pricing.pool, fraction * count)) >= 1
    ]
    if not items:
        return
    for (_, cap, _), priced in zip(items, pricing.price_many(items), strict=True):
        rate = np.where(pricing.fits(priced.memory), priced.tokens_per_second, 0.0)
        one = point(description, fleet, found, cap, priced, int(np.argmax(rate)))
        if one is not None:
            yield one


def point(
    description: Description, fleet: Fleet, found: Found, cap: float, priced: Priced, best: int
) -> CapPoint | None:
    """Days, energy and dollars of one layout at one cap; none where it does not fit."""
    pricing = found.pricing
    if not pricing.fits(priced.memory)[best]:
        return None
    gpus = int(priced.layouts.gpus[best])
    replicas = int(priced.layouts.data[best])
    share, _ = fleet.survival(pricing.pool, gpus, description.model, replicas)
    rate = float(priced.tokens_per_second[best]) * share
    name = fleet.name_of(pricing.pool)
    watts = pricing.node_watts(float(priced.gpu_power[best]))
    _, facility = supply.facility_power(
        fleet.site, fleet.cluster, fleet.original(name), gpus, watts, fleet.weather
    )
    days = description.run.tokens / rate / DAY
    dollars = 0.0
    if fleet.site and fleet.day and fleet.weather:
        dollars = days * supply.dollars_per_day(fleet.site, facility, fleet.day, fleet.weather)
    return CapPoint(
        cap=cap,
        gpus=gpus,
        tokens_per_day=rate * DAY,
        energy_per_token=facility / rate,
        days=days,
        dollars=dollars,
    )


def front(points: list[CapPoint]) -> list[ParetoPoint]:
    """Points that no other beats in days, energy and dollars at once, fastest first."""
    kept = []
    for one in points:
        mine = (one.days, one.energy_per_token, one.dollars)
        beaten = any(
            all(a <= b for a, b in zip(_goals(o), mine, strict=True)) and _goals(o) != mine
            for o in points
        )
        if not beaten:
            kept.append(one)
    found = {
        (p.cap, p.gpus): ParetoPoint(
            cap=p.cap,
            gpus=p.gpus,
            days=p.days,
            energy=p.energy_per_token * p.tokens_per_day * p.days,
            dollars=p.dollars,
        )
        for p in kept
    }
    return sorted(found.values(), key=lambda p: p.days)


def _goals(one: CapPoint) -> tuple[float, float, float]:
    return one.days, one.energy_per_token, one.dollars


def flatness(points: list[CapPoint]) -> Iterator[str]:
    """How little the choice between more GPUs and more watts for each matters, where it does."""
    best = max((p.tokens_per_day for p in points), default=0.0)
    near = [p for p in points if p.tokens_per_day >= (1 - FLAT) * best]
    if not near:
        return
    low, high = min(near, key=lambda p: p.cap), max(near, key=lambda p: p.cap)
    if high.cap > 1.15 * low.cap and low.gpus > 1.05 * high.gpus:
        yield (
            f"The choice of cap is flat: {low.gpus:,} GPUs at {show(low.cap, POWER, 3)} and "
            f"{high.gpus:,} at {show(high.cap, POWER, 3)} differ by less than {FLAT:.0%} in tokens "
            "a day."
        )


def growth(plan: Plan, description: Description, fleet: Fleet) -> Iterator[str]:
    """More power or GPUs that come while the run lasts; the plan counts on one day only."""
    cluster, site = description.cluster, description.site
    if fleet.day is None or cluster is None or site is None:
        return
    end = fleet.day + timedelta(days=min(plan.days, 3650))
    dates = {s.available for s in site.power.values() if s.available is not None}
    dates |= {d.date for pool in cluster.pools.values() for d in pool.deliveries}
    coming = sorted(day for day in dates if fleet.day < day <= end)
    if not coming:
        return
    last = coming[-1]
    gpus = sum(pool.delivered(last) for pool in cluster.pools.values())
    yield (
        f"This counts on what is there on {fleet.day}. By {last} there are {gpus:,} GPUs and "
        f"{show(site.power_limit(last), POWER, 3)}: --day plans for then, and "
        "'colossus simulate' plays the growth."
    )


def advice(plan: Plan, description: Description, carried: int) -> Iterator[str]:
    """What a planner would say beside the numbers."""
    asked = description.run.batch
    if abs(plan.batch / asked - 1) > 1e-9:
        yield (
            f"The batch is {show(plan.batch, COUNT, 4)} tokens instead of "
            f"{show(asked, COUNT, 4)}, so that it divides."
        )
    if plan.day is not None and plan.gpus < 0.9 * plan.available:
        limit = plan.power.limit or 0.0
        why = "the batch is too small to keep them all busy in whole replicas"
        if carried < 0.95 * plan.available:
            why = f"{show(limit, POWER, 3)} carry {carried:,} at this cap"
        yield f"{plan.available - plan.gpus:,} GPUs stay idle: {why}."
    if plan.deadline is not None and not plan.deadline.met and plan.deadline.date is not None:
        room = (plan.deadline.date - (description.run.start or plan.day or plan.deadline.date)).days
        if room > 0:
            yield f"To make the deadline it would have to be {plan.days / room:.2f} times as fast."
    if plan.step.bubble > 0.15 * plan.step_time:
        yield (
            f"The pipeline stands still for {plan.step.bubble / plan.step_time:.0%} of the step: "
            "each replica has few micro-batches, and a larger batch would shrink that."
        )
