"""The search: which GPUs of which kinds, at what power cap, in which layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from opencolossus.plan import assemble, here, joint, pinned, release, supply, trouble
from opencolossus.plan.facts import Facts
from opencolossus.plan.fleet import Fleet, part_of_server, ready_pools
from opencolossus.plan.plan import Plan
from opencolossus.plan.pricing import Pricing
from opencolossus.specs import calibration as calibrations
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.evidence import Fact
from opencolossus.specs.software import Calibration, Software

DEFAULT_SCHEDULES = ("1f1b",)


def search(
    description: Description,
    *,
    day: date | None = None,
    power_limit: float | None = None,
    gpus: int | Mapping[str, int] | None = None,
    software: str | None = None,
    calibration: Calibration | None = None,
    schedules: Sequence[str] = DEFAULT_SCHEDULES,
    facts: Mapping[str, Fact] | None = None,
    found: Facts | None = None,
    detail: bool = True,
) -> Plan:
    """Plan a description.

    Args:
        day: the day whose power and deliveries count; the run's start, else the calendar's, else
            the day on which everything is there.
        power_limit: W at the site's entry, instead of what its sources give on the day.
        gpus: GPUs to count on at most, of the whole fleet or by pool.
        software: an entry of the catalog; by the day's year and the GPUs if left out.
        facts: where the description's numbers come from, to name what is assumed.
        found: what the machine at hand reaches, where that was measured.
        detail: also alternatives, the curve of caps, Pareto front and sensitivities.

    Raises:
        UserError: nothing fits; the text says which limit bites and what would help.
    """
    known = calibration or calibrations.shipped()
    when = _day(description, day)
    if description.cluster is None:
        description, ours = here.ready(description, found)
        software = software or ours
    cluster = description.cluster
    assert cluster is not None  # what `ready` gives
    code = _software(software, cluster, when, known)
    if description.run.layout is not None:
        pinned.check(description.model, description.run, description.run.layout)
    cluster = part_of_server(cluster, gpus)
    fleet = _fleet(description, cluster, when, power_limit, gpus)
    made = _planned(description, cluster, fleet, code, known, schedules, dict(facts or {}), detail)
    working = {share.pool for share in made.pools}
    if len(working) == len(fleet.pools) or not fleet.short_of_power(working):
        return made
    fewer = replace(fleet, pools={n: p for n, p in fleet.pools.items() if n in working})
    again = _planned(description, cluster, fewer, code, known, schedules, dict(facts or {}), detail)
    if again.tokens_per_day <= made.tokens_per_day:
        return made
    told = tuple(text for text in made.advice if text.startswith(assemble.RESTS))
    return again.model_copy(update={"available": made.available, "advice": (*again.advice, *told)})


def _planned(
    description: Description,
    cluster: Cluster,
    fleet: Fleet,
    code: Software,
    known: Calibration,
    schedules: Sequence[str],
    facts: dict[str, Fact],
    detail: bool,
) -> Plan:
    """Search every kind of GPU, join them, and write the plan."""
    model, run = description.model, description.run
    strength: dict[str, float] = {}
    pricings: dict[str, Pricing] = {}
    refused: list[UserError] = []
    for name, pool in fleet.pools.items():
        try:
            pricings[name] = Pricing.of(model, run, cluster, pool, code, known)
            strength[name] = joint.strength(pricings[name], fleet, name)
        except UserError as why:  # a kind that cannot do it alone; the others may
            refused.append(why)
    found = []
    for name, strong in strength.items():
        share = strong / sum(strength.values())
        try:
            found.append(joint.search(pricings[name], fleet, name, share, schedules, detail))
        except UserError as why:
            refused.append(why)
    if not found:
        raise refused[0]
    made = assemble.plan(description, fleet, found, known, facts, detail)
    left = tuple(f"{assemble.RESTS}: {why}." for why in refused)
    return made.model_copy(update={"advice": (*made.advice, *left)}) if left else made


def _day(description: Description, day: date | None) -> date | None:
    cluster = description.cluster
    if cluster is None:
        return None
    if day is not None:
        return day
    if description.run.start is not None:
        return description.run.start
    if description.calendar is not None:
        return description.calendar.start
    dates = [d.date for pool in cluster.pools.values() for d in pool.deliveries]
    if description.site is not None:
        power = description.site.power.values()
        dates += [s.available for s in power if s.available is not None]
    return max(dates) if dates else date.today()


def _software(name: str | None, cluster: Cluster, day: date | None, known: Calibration) -> Software:
    if name is None:
        return release.usual(cluster.pools.values(), day, known)
    found: Software = catalog.entry("software", name)
    return found


def _fleet(
    description: Description,
    cluster: Cluster,
    day: date | None,
    power_limit: float | None,
    gpus: int | Mapping[str, int] | None,
) -> Fleet:
    pools = ready_pools(cluster, day, gpus)
    for name, pool in pools.items():
        if cluster.fabric.kind == "none" and pool.gpus > pool.node.scale_up_domain:
            raise UserError(trouble.no_network(name, pool))
    site = description.site
    if power_limit is not None and power_limit <= 0:
        raise UserError(f"power limit must be above 0 W, not {power_limit:g}")
    if site is None or day is None:
        return Fleet(None, cluster, day, power_limit, None, pools)
    limit = power_limit if power_limit is not None else supply.power_limit(site, day)
    return Fleet(site, cluster, day, limit, supply.weather(site, day), pools)
