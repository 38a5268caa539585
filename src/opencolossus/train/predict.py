"""What the planner expects of this run on the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.specs.document import Description


@dataclass(frozen=True)
class Prediction:
    """Expected figures of one step."""

    step_time: float
    """s."""
    memory: float
    """Bytes on one device."""
    peak_flops: float
    """Of one device in the run's precision, FLOP/s."""
    assumed: tuple[str, ...] = ()
    """What it leans on that nobody measured."""


def predict(description: Description) -> Prediction | None:
    """The planner's figures for the machine at hand, or None where it has none."""
    return None
