"""One kind of GPU at work, and several that share a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opencolossus.plan import mixed
from opencolossus.specs.run import Run
from opencolossus.step.law import Cost
from opencolossus.step.layouts import Layouts
from opencolossus.step.memory import Memory

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found


@dataclass(frozen=True)
class Part:
    """One kind of GPU at work: its layout and what a step costs it."""

    found: Found
    """``best`` is the layout that it runs, on a fleet of this kind alone."""
    one: Layouts
    """Its own replicas and its own sequences of a step."""
    cost: Cost
    held: Memory

    @property
    def gpus(self) -> int:
        """GPUs that work."""
        return int(self.one.gpus[0])

    @property
    def replicas(self) -> int:
        """Replicas of the model."""
        return int(self.one.data[0])

    @property
    def seconds(self) -> float:
        """Its part of a step."""
        return float(self.cost.time[0])


def parts_of(found: Sequence[Found], run: Run) -> list[Part]:
    """The kinds of GPU that work, the one that does most first."""
    if len(found) > 1:
        shared = [Part(*share) for share in mixed.split(found, run)]
        return sorted(shared, key=lambda part: -float(part.one.batch[0]))
    item = found[0]
    one = item.priced.layouts.take(slice(item.best, item.best + 1))
    return [Part(item, one, *item.pricing.detail(one, item.cap, item.gpus))]
