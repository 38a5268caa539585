"""What breaks, how often, and how a run comes back."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.quantities import (
    Fraction,
    NonNegativeDuration,
    PositiveDuration,
    Rate,
)


class Cause(Spec):
    """One kind of failure; each stops a synchronous run."""

    group: Literal["gpu", "host", "network", "software", "site", "planned"]
    per: Literal["gpu", "node", "rack", "switch", "job"] = "gpu"
    """What the rate counts for; all servers of a ``rack`` leave together."""
    rate: Annotated[Rate, Field(ge=0)]
    """Failures per unit of time and ``per``."""
    repair: NonNegativeDuration = 0.0
    """Mean time until the node (or the nodes of a switch) is back; 0 if it never leaves."""
    nodes: PositiveInt = 1
    """Servers that leave together."""
    hidden: NonNegativeDuration = 0.0
    """Work lost before anybody notices (silent data corruption)."""


class Storm(Spec):
    """A time in which one cause strikes more often."""

    cause: str
    start: date
    days: Annotated[float, Field(gt=0)]
    factor: Annotated[float, Field(ge=0)]
    """Of the usual rate."""


class Recovery(Spec):
    """How a run comes back after an interruption."""

    mode: Literal["restart", "replica"] = "restart"
    """``replica``: the other data-parallel replicas go on while one comes back."""
    detection: NonNegativeDuration
    """From the failure to the job's end."""
    restart: NonNegativeDuration
    """Scheduling, processes, compilation, reading the checkpoint."""
    setup_per_rank: NonNegativeDuration
    """Setting up communicators, per rank of the job."""
    checkpoint: Literal["storage", "memory"] = "storage"
    """``memory``: into the hosts of other servers, over the network of the training."""
    checkpoint_blocking: Fraction = 1.0
    """Share of writing a checkpoint that training waits for."""
    regroup: NonNegativeDuration = 0.0
    """With ``replica``: the pause of the others."""


class Failures(Spec):
    """Failure rates of a cluster, and how it recovers."""

    catalog_kind: ClassVar[str | None] = "failures"

    name: str = "unnamed failures"
    causes: dict[str, Cause] = Field(min_length=1)
    recovery: Recovery
    infant_factor: Annotated[float, Field(ge=1)] = 1.0
    """Failure rate of hardware on its first day, as a multiple of the settled rate."""
    infant_time: PositiveDuration = 30 * 86400.0
    """Time in which that excess falls to 1/e."""
    crews: PositiveInt | None = None
    """Repairs that can go on at a time; as many as needed if left out."""
    storms: tuple[Storm, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for storm in self.storms:
            if storm.cause not in self.causes:
                known = ", ".join(self.causes)
                raise ValueError(f"storm names cause {storm.cause!r}; causes: {known}")
        return self
