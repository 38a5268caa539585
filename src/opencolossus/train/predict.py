"""What the planner expects of this run on the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.plan.search import search
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Precision
from opencolossus.specs.run import Layout


@dataclass(frozen=True)
class Prediction:
    """Expected figures of one step."""

    step_time: float
    """s."""
    memory: float
    """Bytes on the fullest device."""
    assumptions: tuple[str, ...]
    """What it leans on that nobody measured."""


def predict(
    description: Description,
    precision: Precision,
    machine: Cluster,
    layout: Layout | None,
    staged: float = 0.0,
) -> Prediction | str:
    """The planner's figures for this run, or the sentence in which it refuses.

    Args:
        precision: what the network computes in.
        machine: where it runs, a device for each process.
        layout: how the work is spread; the planner's own on one device.
        staged: bytes of a checkpoint's copy that lie in the same memory.
    """
    run = description.run.model_copy(update={"precision": precision, "layout": layout})
    here = description.model_copy(update={"site": None, "cluster": machine, "run": run})
    try:
        plan = search(here, detail=False)
    except UserError as error:
        return str(error)
    return Prediction(plan.step_time, plan.memory.total + staged, plan.assumptions)
