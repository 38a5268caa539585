"""What surrounds a plan: other caps, other layouts and why they lost, what inputs are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from opencolossus.plan import advice, alternatives, sensitivity, supply
from opencolossus.plan.fleet import Fleet, whole
from opencolossus.plan.parts import Part
from opencolossus.plan.plan import CapPoint, ParetoPoint, Plan
from opencolossus.plan.pricing import Priced
from opencolossus.specs.document import Description
from opencolossus.specs.scales import DAY

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

FRACTIONS = (0.4, 0.6, 0.8)
"""Shares of the GPUs that the Pareto front also tries, beside all of them."""


def detailed(plan: Plan, description: Description, fleet: Fleet, parts: Sequence[Part]) -> Plan:
    """The plan with its surroundings; those of layouts are the ones of the main kind."""
    points = list(_at_caps(plan, description, fleet, parts))
    fewer = _with_fewer(plan, description, fleet, parts)
    main = parts[0].found
    return plan.model_copy(
        update={
            "curve": tuple(points),
            "pareto": tuple(front([*points, *fewer])),
            "alternatives": alternatives.nearest(main, plan),
            "sensitivities": sensitivity.sensitivities(plan, description, fleet, main),
            "advice": (
                *plan.advice,
                *advice.advice(plan, description),
                *advice.flatness(points),
                *advice.growth(plan, description, fleet),
            ),
        }
    )


class Way(NamedTuple):
    """One kind at one cap: the layouts priced there and the fastest that fits."""

    found: Found
    cap: float
    priced: Priced
    best: int

    @property
    def rate(self) -> float:
        """Tokens per second that it adds to all; 0 where nothing fits."""
        fits = self.found.pricing.fits(self.priced.memory)[self.best]
        rate = self.priced.tokens_per_second[self.best]
        return self.found.share * float(rate) if fits else 0.0

    @property
    def gpus(self) -> float:
        """GPUs of the kind that work."""
        return self.found.share * float(self.priced.layouts.gpus[self.best])


def _at_caps(
    plan: Plan, description: Description, fleet: Fleet, parts: Sequence[Part]
) -> Iterator[CapPoint]:
    """Points of the curve: the caps of all kinds go up together."""
    tables = [part.found.at_caps[::-1] for part in parts]
    for steps in reversed(list(zip(*tables, strict=False))):
        ways = [
            Way(part.found, cap, priced, best)
            for part, (cap, _, priced, best) in zip(parts, steps, strict=True)
        ]
        one = point(plan, description, fleet, parts, ways)
        if one is not None:
            yield one


def _with_fewer(
    plan: Plan, description: Description, fleet: Fleet, parts: Sequence[Part]
) -> Iterator[CapPoint]:
    """Points with a part of the GPUs, at every third cap."""
    priced = []
    for part in parts:
        found = part.found
        tries = (
            (cap, whole(found.pricing.pool, fraction * count))
            for cap, count, _, _ in found.at_caps[::3]
            for fraction in FRACTIONS
        )
        priced.append(found.pricing.price_filled(found.shortlist.layouts, tries))
    for steps in zip(*priced, strict=False):
        ways = []
        for part, (cap, _, one) in zip(parts, steps, strict=True):
            fits = part.found.pricing.fits(one.memory)
            best = int(np.argmax(np.where(fits, one.tokens_per_second, 0.0)))
            ways.append(Way(part.found, cap, one, best))
        found_point = point(plan, description, fleet, parts, ways)
        if found_point is not None:
            yield found_point


def point(
    plan: Plan,
    description: Description,
    fleet: Fleet,
    parts: Sequence[Part],
    ways: Sequence[Way],
) -> CapPoint | None:
    """Days, energy and dollars with each kind at one cap; none where nothing fits.

    What kinds lose by sharing a step is taken to be what they lose in the plan.
    """
    if any(way.rate <= 0 for way in ways):
        return None
    alone = sum(
        p.found.share * float(p.found.priced.tokens_per_second[p.found.best]) for p in parts
    )
    gpus = round(sum(way.gpus for way in ways))
    main = ways[0]
    share, _ = fleet.survival(
        main.found.pricing.pool,
        gpus,
        description.model,
        int(main.priced.layouts.data[main.best]),
        float(main.priced.seconds[main.best]),
    )
    joined = plan.tokens_per_second / alone if len(parts) > 1 else 1.0
    rate = sum(way.rate for way in ways) * share * joined
    facility = sum(_facility(fleet, way) for way in ways)
    days = description.run.tokens / rate / DAY
    dollars = 0.0
    if fleet.site and fleet.day and fleet.weather:
        dollars = days * supply.dollars_per_day(fleet.site, facility, fleet.day, fleet.weather)
    return CapPoint(
        cap=main.cap,
        gpus=gpus,
        tokens_per_day=rate * DAY,
        energy_per_token=facility / rate,
        days=days,
        dollars=dollars,
    )


def _facility(fleet: Fleet, way: Way) -> float:
    """W at the site's entry for one kind."""
    pricing = way.found.pricing
    pool = fleet.original(fleet.name_of(pricing.pool))
    watts = pricing.node_watts(float(way.priced.gpu_power[way.best]))
    _, facility = supply.facility_power(
        fleet.site, fleet.cluster, pool, round(way.gpus), watts, fleet.weather
    )
    return facility


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
