"""What a planner would say beside the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from opencolossus.plan import idle
from opencolossus.plan.fleet import Fleet
from opencolossus.plan.plan import CapPoint, Plan
from opencolossus.specs.document import Description
from opencolossus.specs.scales import DAY
from opencolossus.specs.units import COUNT, DURATION, POWER, show

FLAT = 0.02
"""Differences in speed below this are well within the error of any plan."""


def flatness(points: Sequence[CapPoint]) -> Iterator[str]:
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


def advice(plan: Plan, description: Description) -> Iterator[str]:
    """What a planner would say beside the numbers."""
    limit = description.run.time_limit
    if limit is not None and limit < plan.days * DAY:
        share = limit / (plan.days * DAY)
        yield (
            f"run.time_limit ends it after {show(limit, DURATION, 3)}, with about {share:.0%} of "
            f"the tokens ({show(share * description.run.tokens, COUNT, 3)})."
        )
    asked = description.run.batch
    if abs(plan.batch / asked - 1) > 1e-9:
        yield (
            f"The batch is {show(plan.batch, COUNT, 4)} tokens instead of "
            f"{show(asked, COUNT, 4)}, so that it divides."
        )
    if plan.deadline is not None and not plan.deadline.met and plan.deadline.date is not None:
        begin = max(filter(None, (description.run.start, plan.day)), default=plan.deadline.date)
        room = (plan.deadline.date - begin).days
        if room > 0:
            yield f"To make the deadline it would have to be {plan.days / room:.2f} times as fast."
    if plan.step.bubble > 0.15 * plan.step_time:
        yield (
            f"The pipeline stands still for {plan.step.bubble / plan.step_time:.0%} of the step: "
            "each replica has few micro-batches, and a larger batch would shrink that."
        )
        told = idle.batch_room(plan)
        if told not in plan.advice:
            yield told
