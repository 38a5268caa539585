"""One description: everything that the four verbs read, in one file."""

from __future__ import annotations

import re
from datetime import date
from typing import Self

from pydantic import NonNegativeInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.model import Model
from opencolossus.specs.run import Run
from opencolossus.specs.site import Site


class Calendar(Spec):
    """The time that ``simulate`` plays."""

    start: date
    end: date
    """Last day played."""
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end ({self.end}) must not be before start ({self.start})")
        return self

    @property
    def days(self) -> int:
        """Days played, both ends included."""
        return (self.end - self.start).days + 1


class Description(Spec):
    """A site, a cluster on it, a model, and the run that trains it."""

    name: str
    site: Site | None = None
    """Power, cooling and prices; not counted if left out."""
    cluster: Cluster | None = None
    """The machine at hand if left out."""
    model: Model
    run: Run
    calendar: Calendar | None = None

    @property
    def run_folder(self) -> str:
        """Name of the folder of the run: the run's own, else made from the description's."""
        if "name" in self.run.model_fields_set:
            return self.run.name.replace("/", "-")
        return re.sub(r"[^\w.]+", "-", self.name).strip("-.").lower() or "run"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.run.sequence > self.model.context:
            raise ValueError(
                f"run.sequence ({self.run.sequence}) exceeds model.context ({self.model.context})"
            )
        if self.site is not None and self.cluster is None:
            raise ValueError("site needs a cluster that stands on it, for example h100-1024")
        return self
