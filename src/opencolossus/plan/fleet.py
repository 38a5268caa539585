"""What is there on a day: pools, watts, weather, and what failures take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np

from opencolossus.plan import supply, survive
from opencolossus.plan.plan import Survival
from opencolossus.plan.supply import Weather
from opencolossus.power.capacity import provisioned_gpu_power
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.model import Model
from opencolossus.specs.site import Site
from opencolossus.step.columns import Array


@dataclass(frozen=True)
class Fleet:
    """The machines of a day and the power that they have together."""

    site: Site | None
    cluster: Cluster
    day: date | None
    limit: float | None
    """W at the site's entry, or of the computers where no site is given; none without a limit."""
    weather: Weather | None
    pools: dict[str, Pool]
    """Pools with the GPUs that may be used, spares left out."""

    @property
    def gpus(self) -> int:
        """All GPUs that are there."""
        return sum(pool.gpus for pool in self.pools.values())

    def carried(self, name: str) -> tuple[Array, Array]:
        """Caps of a pool and the GPUs that its share of the power carries at each."""
        pool = self.pools[name]
        if self.limit is None:
            return np.array([pool.node.gpu.tdp]), np.array([float(pool.gpus)])
        share = self.limit * self._share(name)
        return supply.carried(
            self.site, self.cluster, self.original(name), share, self.weather, pool.gpus
        )

    def short_of_power(self, names: Iterable[str]) -> bool:
        """Whether more watts would carry more of these pools, or let them run faster."""
        return any(self.carried(name)[1][-1] < self.pools[name].gpus for name in names)

    def name_of(self, pool: Pool) -> str:
        """The name of one of the fleet's pools."""
        return next(name for name, one in self.pools.items() if one is pool or one == pool)

    def original(self, name: str) -> Pool:
        """The pool as the cluster has it."""
        return self.cluster.pools[name]

    def _share(self, name: str) -> float:
        """Share of the power that goes to a pool: by what its GPUs would draw at full cap."""
        wanted = {
            key: pool.gpus * float(provisioned_gpu_power(self.cluster, pool, pool.node.gpu.tdp))
            for key, pool in self.pools.items()
        }
        return wanted[name] / sum(wanted.values())

    def survival(
        self, pool: Pool, gpus: int, model: Model, replicas: int, step_time: float
    ) -> tuple[float, Survival]:
        """What failures leave of the calendar for a job of ``replicas`` on ``gpus`` GPUs."""
        return survive.survival(self.cluster, pool, gpus, model.parameters, replicas, step_time)


def ready_pools(
    cluster: Cluster, day: date | None, gpus: int | Mapping[str, int] | None
) -> dict[str, Pool]:
    """Pools with the GPUs that are there on ``day``, spares and unwanted ones left out.

    Raises:
        UserError: nothing is there, or ``gpus`` names an unknown pool or no positive number.
    """
    wanted = _wanted(cluster, gpus)
    found = {}
    for name, pool in cluster.pools.items():
        there = pool.gpus if day is None else pool.delivered(day)
        there = int(there * (1 - cluster.spares))
        there = min(there, wanted.get(name, there))
        there = whole(pool, there)
        if there > 0:
            found[name] = pool.model_copy(update={"gpus": there, "deliveries": ()})
    if isinstance(gpus, int):
        found = _trim(found, gpus)
    if not found:
        raise UserError(_nothing(cluster, day))
    return found


def part_of_server(cluster: Cluster, gpus: int | Mapping[str, int] | None) -> Cluster:
    """The cluster, or the part of one server that fewer ``gpus`` than it has are."""
    name = max(cluster.pools, key=lambda key: cluster.pools[key].gpus)
    node = cluster.pools[name].node
    if not isinstance(gpus, int) or not 1 <= gpus < node.gpus:
        return cluster
    share = gpus / node.gpus
    less = {
        "gpus": gpus,
        "scale_up_domain": min(gpus, node.scale_up_domain),
        "nics": max(round(share * node.nics), 1),
        "host_power": share * node.host_power,
        "host_idle_power": share * node.host_idle_power,
        "rated_power": share * node.rated_power,
        "price": None if node.price is None else share * node.price,
    }
    less["fan_power"] = share * node.fan_power
    pool = cluster.pools[name].model_copy(
        update={"node": node.model_copy(update=less), "gpus": gpus, "deliveries": ()}
    )
    return cluster.model_copy(update={"pools": {name: pool}, "spares": 0.0})


def whole(pool: Pool, gpus: float) -> int:
    """GPUs in whole servers."""
    return int(gpus) // pool.node.gpus * pool.node.gpus


def _wanted(cluster: Cluster, gpus: int | Mapping[str, int] | None) -> dict[str, int]:
    if gpus is None:
        return {}
    if isinstance(gpus, int):
        if gpus < 1:
            raise UserError(f"gpus must be at least 1, not {gpus}")
        return {}
    for name, count in gpus.items():
        if name not in cluster.pools:
            known = ", ".join(cluster.pools)
            raise UserError(
                f"cluster.pools has no {name!r}{did_you_mean(name, cluster.pools)}; pools: {known}"
            )
        if count < 0:
            raise UserError(f"gpus of pool {name} must not be negative, but is {count}")
    return dict(gpus)


def _trim(pools: dict[str, Pool], gpus: int) -> dict[str, Pool]:
    """At most ``gpus`` in all, larger pools first."""
    left, kept = gpus, {}
    for name, pool in sorted(pools.items(), key=lambda item: -item[1].gpus):
        taken = whole(pool, min(pool.gpus, left))
        if taken > 0:
            kept[name] = pool.model_copy(update={"gpus": taken})
            left -= taken
    return {name: kept[name] for name in pools if name in kept}


def _nothing(cluster: Cluster, day: date | None) -> str:
    dates = [d.date for pool in cluster.pools.values() for d in pool.deliveries]
    if day is not None and dates and min(dates) > day:
        return f"cluster.pools: no GPU is there on {day}; the first come on {min(dates)}"
    there = sum(p.gpus if day is None else p.delivered(day) for p in cluster.pools.values())
    if cluster.spares > 0 and there > 0:
        return (
            f"cluster.spares: {cluster.spares:.0%} of {there:,} GPUs leave no whole server to plan "
            "with; 5 % is usual"
        )
    return "cluster.pools: no whole server of GPUs is left to plan with"
