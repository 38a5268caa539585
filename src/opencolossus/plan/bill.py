"""Watts, joules and dollars of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opencolossus.plan import supply
from opencolossus.plan.fleet import Fleet
from opencolossus.plan.parts import Part
from opencolossus.plan.plan import Power
from opencolossus.specs.scales import DAY


def bill(fleet: Fleet, parts: Sequence[Part], days: float) -> dict[str, Any]:
    """Watts, joules and dollars."""
    power = watts(fleet, parts)
    dollars = 0.0
    if fleet.site and fleet.day and fleet.weather:
        dollars = days * supply.dollars_per_day(
            fleet.site, power.facility, fleet.day, fleet.weather
        )
    return {
        "power": power,
        "energy": power.facility * days * DAY,
        "dollars": dollars,
        "hardware_dollars": hardware(parts),
        "rent_dollars": rent(parts, days),
    }


def watts(fleet: Fleet, parts: Sequence[Part]) -> Power:
    """Power of a GPU and a server of the main kind, of the computers and of the site."""
    it = facility = peak = 0.0
    first: tuple[float, float] | None = None
    for part in parts:
        pricing = part.found.pricing
        each = float(pricing.gpu_power(part.cost, part.found.cap)[0])
        node = pricing.node_watts(each)
        first = first or (each, node)
        pool = fleet.original(fleet.name_of(pricing.pool))
        drawn, entered = supply.facility_power(
            fleet.site, fleet.cluster, pool, part.gpus, node, fleet.weather
        )
        it, facility = it + drawn, facility + entered
        peak += supply.peak_power(
            fleet.site, fleet.cluster, pool, part.gpus, part.found.cap, fleet.weather
        )
    assert first is not None
    return Power(
        gpu=first[0],
        node=first[1],
        it=it,
        facility=facility,
        peak=peak,
        limit=fleet.limit,
        pue=facility / it,
    )


def hardware(parts: Sequence[Part]) -> float | None:
    """What the servers at work cost new; none where a price is not known."""
    total = 0.0
    for part in parts:
        node = part.found.pricing.pool.node
        if node.price is None:
            return None
        total += node.price * part.gpus / node.gpus
    return total


def rent(parts: Sequence[Part], days: float) -> float | None:
    """What the GPUs at work cost in ``days``; none where they are not, or not all, rented."""
    prices = [part.found.pricing.pool.gpu_hour for part in parts]
    each = [p * part.gpus for p, part in zip(prices, parts, strict=True) if p is not None]
    return sum(each) * days * 24.0 if len(each) == len(parts) else None
