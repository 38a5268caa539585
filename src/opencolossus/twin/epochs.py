"""The times at which the plan must be searched again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling.heat import pue
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.twin.fleet import Fleet
from opencolossus.twin.operating import Operating, idle
from opencolossus.twin.planner import Planner

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Epochs:
    """Stretches of hours with one plan each."""

    starts: NDArray[np.intp]
    """First hour of each, [K]; a new plan is at work from then."""
    plans: tuple[Operating, ...]
    of_hour: NDArray[np.intp]
    """Epoch of each hour, [H]."""

    def by_hour(self, name: str) -> Array:
        """A number of the plans, for each hour."""
        return np.array([getattr(plan, name) for plan in self.plans], dtype=float)[self.of_hour]

    def gpus(self, pools: list[str]) -> Array:
        """GPUs in the job, [P, H]."""
        table = [[plan.gpus.get(pool, 0) for plan in self.plans] for pool in pools]
        return np.array(table, dtype=float)[:, self.of_hour]


def boundaries(limit: Array, ready: Array, first: int) -> NDArray[np.intp]:
    """Hours at which supply or fleet change, and hour ``first`` at which the run may begin."""
    changed = np.zeros(limit.size, dtype=bool)
    changed[0] = True
    changed[1:] = (np.diff(limit) != 0) | (np.diff(ready, axis=1) != 0).any(axis=0)
    if 0 < first < limit.size:
        changed[first] = True
    return np.flatnonzero(changed)


def plan_epochs(
    description: Description,
    planner: Planner,
    hours: NDArray[np.datetime64],
    limit: Array,
    fleet: Fleet,
    weather: tuple[Array, Array],
) -> Epochs:
    """Search a plan for each epoch; equal ones in a row are one.

    Where supply and fleet have only grown and the new plan is no faster, failures included, the old
    one stays.

    ``limit`` [H] is the power in W that the sources can give for longer than hours.

    Raises:
        UserError: no epoch has a plan; the text is the planner's about the last one.
    """
    cluster, site = description.cluster, description.site
    assert cluster is not None
    assert site is not None
    pools = list(cluster.pools)
    first = _first_hour(description, hours)
    starts = boundaries(limit, fleet.ready, first)
    ends = np.append(starts[1:], hours.size)
    effectiveness = pue(site.cooling, 1.0, *weather)
    plans: list[Operating] = []
    kept: list[int] = []
    searched = 0
    refusals: list[UserError] = []
    for start, end in zip(starts, ends, strict=True):
        if start < first:
            plan = idle(f"the run begins on {description.run.start}")
        elif limit[start] <= 0:
            plan = idle("there is no power")
        elif not fleet.ready[:, start].any():
            plan = idle("no GPUs are ready")
        else:
            ready = {pool: int(fleet.ready[row, start]) for row, pool in enumerate(pools)}
            day = hours[start].astype("datetime64[D]").astype(object)
            worst = float(effectiveness[start:end].max())
            try:
                plan = planner(description, day, float(limit[start]), ready, worst)
            except UserError as error:
                refusals.append(error)
                plan = idle(str(error))
        grown = (fleet.ready[:, start] >= fleet.ready[:, searched]).all()
        running = plans and plans[-1].total > 0
        if running and grown and limit[start] >= limit[searched] and plan.pace <= plans[-1].pace:
            continue  # nobody stops a run for a plan that is no faster
        searched = int(start)
        if not plans or plan != plans[-1]:
            plans.append(plan)
            kept.append(int(start))
    if refusals and not any(plan.total for plan in plans):
        raise refusals[-1]
    begin = np.array(kept, dtype=np.intp)
    of_hour = np.searchsorted(begin, np.arange(hours.size), side="right") - 1
    return Epochs(begin, tuple(plans), of_hour.astype(np.intp))


def _first_hour(description: Description, hours: NDArray[np.datetime64]) -> int:
    if description.run.start is None:
        return 0
    return int(np.searchsorted(hours, np.datetime64(description.run.start, "h")))
