"""What the planner expects of this run on the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.plan import here, mode
from opencolossus.plan.mode import Compiling
from opencolossus.plan.plan import Interval
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
    interval: Interval
    memory: float
    """Bytes on the fullest device."""
    assumptions: tuple[str, ...]
    """What it leans on that nobody measured."""


def predict(
    description: Description,
    precision: Precision,
    compiled: Compiling,
    machine: Cluster,
    layout: Layout,
) -> Prediction | str:
    """The planner's figures for this run, or the sentence in which it refuses.

    Args:
        precision: what the network computes in.
        compiled: what of it is compiled.
        machine: where it runs, a device for each process.
        layout: how the work is spread.
    """
    layout = mode.whole_micro_batches(description.run, layout, _processes(machine))
    run = description.run.model_copy(update={"precision": precision, "layout": layout})
    planned = description.model_copy(update={"site": None, "cluster": machine, "run": run})
    try:
        plan = search(planned, software=here.software(machine, compiled, precision), detail=False)
    except UserError as error:
        return str(error)
    return Prediction(plan.step_time, plan.interval, plan.memory.total, plan.assumptions)


def _processes(machine: Cluster) -> int:
    return sum(pool.gpus for pool in machine.pools.values())
