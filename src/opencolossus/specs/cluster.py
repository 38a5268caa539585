"""The machines: how many GPUs of which kind, from when, on which fabric."""

from __future__ import annotations

import datetime as dt
from datetime import date
from itertools import pairwise
from typing import ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.failures import Failures
from opencolossus.specs.hardware import Fabric, Node, Rack
from opencolossus.specs.quantities import (
    Fraction,
    NonNegativeDuration,
    NonNegativeMoney,
    PositiveBandwidth,
    Ratio,
)


class Delivery(Spec):
    """GPUs that arrive on one day, or in equal weekly lots up to a last day."""

    date: date
    gpus: PositiveInt
    until: dt.date | None = None
    """Day of the last weekly lot; all arrive on ``date`` if left out."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.until is not None and self.until < self.date:
            raise ValueError(f"until ({self.until}) must not be before date ({self.date})")
        return self

    @property
    def lots(self) -> list[tuple[dt.date, float]]:
        """Days on which lots arrive, with the share of the GPUs that is there from then."""
        weeks = 0 if self.until is None else (self.until - self.date).days // 7
        return [
            (self.date + dt.timedelta(weeks=week), (week + 1) / (weeks + 1))
            for week in range(weeks + 1)
        ]

    def arrived(self, day: dt.date) -> int:
        """GPUs of this delivery that are there on ``day``."""
        shares = [share for lot, share in self.lots if lot <= day]
        return round(self.gpus * shares[-1]) if shares else 0


class Pool(Spec):
    """GPUs of one kind."""

    node: Node
    rack: Rack | None = None
    gpus: PositiveInt
    """In the end; deliveries may bring them in parts."""
    deliveries: tuple[Delivery, ...] = ()
    """In order of time; all GPUs are there from the start if left out."""
    acceptance: NonNegativeDuration = 0.0
    """Tests between arrival and the first day of training."""
    gpu_hour: NonNegativeMoney | None = None
    """Price of one GPU for an hour, where they are rented."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gpus % self.node.gpus:
            low = self.gpus // self.node.gpus * self.node.gpus
            raise ValueError(
                f"gpus ({self.gpus}) must fill whole servers of {self.node.gpus}; "
                f"nearest are {max(low, self.node.gpus)} and {low + self.node.gpus}"
            )
        for before, after in pairwise(self.deliveries):
            if after.date < before.date:
                raise ValueError(
                    f"deliveries must be in order: {after.date} stands after {before.date}"
                )
        delivered = sum(d.gpus for d in self.deliveries)
        if self.deliveries and delivered != self.gpus:
            raise ValueError(f"deliveries add up to {delivered} GPUs, but gpus is {self.gpus}")
        return self

    @property
    def rack_servers(self) -> int:
        """Servers of one rack; each stands alone where racks are not told."""
        return 1 if self.rack is None else max(self.rack.gpus // self.node.gpus, 1)

    def delivered(self, day: date) -> int:
        """GPUs that are ready to train on ``day``."""
        if not self.deliveries:
            return self.gpus
        early = dt.timedelta(seconds=self.acceptance)
        arrived = sum(d.arrived(day - early) for d in self.deliveries)
        return arrived // self.node.gpus * self.node.gpus


class Cluster(Spec):
    """Pools of GPUs on one fabric."""

    catalog_kind: ClassVar[str | None] = "clusters"

    name: str = "unnamed cluster"
    pools: dict[str, Pool] = Field(min_length=1)
    fabric: Fabric
    storage_share: Ratio = 0.0
    """Power of storage, management and login servers, as a share of the GPU servers' power."""
    spares: Fraction = 0.0
    """Share of servers kept idle to replace failed ones."""
    storage_bandwidth: PositiveBandwidth | None = None
    """Rate at which the storage takes checkpoints; assumed from the number of GPUs if left out."""
    failures: Failures | None = None
    """The published rates of Llama 3's cluster if left out."""

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.gpus for pool in self.pools.values())
