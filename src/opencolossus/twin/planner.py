"""The plan of each epoch, from the planner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from opencolossus.plan.plan import Plan
from opencolossus.plan.search import search
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.evidence import Fact
from opencolossus.twin.operating import Operating

NINETY = 1.645
"""Standard deviations from the middle of a normal distribution to either end of its 90 %."""


class Planner(Protocol):
    """Chooses how to run on what there is."""

    def __call__(
        self, description: Description, day: date, limit: float, ready: dict[str, int], pue: float
    ) -> Operating:
        """Plan for ``limit`` W at the site's entry and the GPUs ``ready`` by pool.

        Raises:
            UserError: nothing can run; the text says why.
        """
        ...


class Remembered:
    """A planner that never searches the same plan twice; it travels between processes."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.known: dict[tuple[object, ...], Operating | UserError] = {}

    def __call__(
        self, description: Description, day: date, limit: float, ready: dict[str, int], pue: float
    ) -> Operating:
        """Search, or remember."""
        key = (day, limit, tuple(sorted(ready.items())), pue)
        if key not in self.known:
            try:
                self.known[key] = self.planner(description, day, limit, ready, pue)
            except UserError as error:
                self.known[key] = error
        found = self.known[key]
        if isinstance(found, UserError):
            raise found
        return found


@dataclass(frozen=True)
class Searched:
    """``plan.search`` as a planner."""

    facts: Mapping[str, Fact] = field(default_factory=dict)
    """Where the description's numbers come from, to name what is assumed."""

    def __call__(
        self, description: Description, day: date, limit: float, ready: dict[str, int], pue: float
    ) -> Operating:
        """Ask for the best plan of the day.

        Raises:
            UserError: nothing can run; the text says why.
        """
        plan = search(
            description,
            day=day,
            power_limit=limit,
            gpus=ready,
            facts=self.facts,
            detail=False,
        )
        return operating(description, plan)


def operating(description: Description, plan: Plan) -> Operating:
    """A plan in the numbers that the clock needs."""
    assert description.cluster is not None
    pools = description.cluster.pools
    gpus = {share.pool: share.gpus for share in plan.pools}
    rated = sum(share.gpus * pools[share.pool].node.gpu.tdp for share in plan.pools)
    step, time = plan.step, plan.step_time
    talk = step.tensor + step.context + step.expert + step.sends + step.data
    return Operating(
        gpus=gpus,
        cap=sum(share.gpus * share.cap for share in plan.pools) / rated,
        rate=plan.tokens_per_second,
        goodput=plan.goodput,
        step_time=time,
        compute=(step.compute + step.recompute) / time,
        memory=step.optimiser / time,
        communication=talk / time,
        replica=max(plan.gpus // plan.data_parallel, 1),
        interval=plan.survival.checkpoint_interval,
        write=plan.survival.checkpoint_write,
        spread=max(math.log(plan.interval.high / plan.interval.low), 0.0) / (2 * NINETY),
        layout=layout_text(plan),
        assumptions=plan.assumptions,
    )


def layout_text(plan: Plan) -> str:
    """A layout in the field's short words: TP8 PP16 EP8 DP64."""
    sizes = {
        "TP": plan.layout.tensor_parallel,
        "CP": plan.layout.context_parallel,
        "PP": plan.layout.pipeline_parallel,
        "EP": plan.layout.expert_parallel,
        "DP": plan.data_parallel,
    }
    return " ".join(f"{name}{size}" for name, size in sizes.items() if size > 1 or name == "DP")
