"""What the planner expects of this run on the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.plan.search import search
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Precision


@dataclass(frozen=True)
class Prediction:
    """Expected figures of one step."""

    step_time: float
    """s."""
    memory: float
    """Bytes on one device."""
    assumptions: tuple[str, ...]
    """What it leans on that nobody measured."""


def predict(
    description: Description, precision: Precision, measured_flops: float | None
) -> Prediction | str:
    """The planner's figures for one device here, or the sentence in which it refuses.

    Args:
        precision: what the network computes in.
        measured_flops: rate of large matrix products in that precision on a CPU.
    """
    here = description.model_copy(
        update={
            "site": None,
            "cluster": None,
            "run": description.run.model_copy(update={"precision": precision}),
        }
    )
    try:
        plan = search(here, bf16_flops=measured_flops, gpus=1, detail=False)
    except UserError as error:
        return str(error)
    return Prediction(plan.step_time, plan.memory.total, plan.assumptions)
