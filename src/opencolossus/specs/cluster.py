"""The machines: how many GPUs of which kind, from when, on which fabric."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.hardware import Fabric, Node, Rack
from opencolossus.specs.quantities import Fraction, Ratio


class Delivery(Spec):
    """GPUs that arrive on one day and are ready to train from then."""

    date: date
    gpus: PositiveInt


class Pool(Spec):
    """GPUs of one kind."""

    node: Node
    rack: Rack | None = None
    gpus: PositiveInt
    """In the end; deliveries may bring them in parts."""
    deliveries: tuple[Delivery, ...] = ()
    """In order of time; all GPUs are there from the start if left out."""

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

    def delivered(self, day: date) -> int:
        """GPUs that are there on ``day``."""
        if not self.deliveries:
            return self.gpus
        return sum(d.gpus for d in self.deliveries if d.date <= day)


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

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.gpus for pool in self.pools.values())
