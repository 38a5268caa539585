"""The layout of a run where the description or the command line leave it open."""

from __future__ import annotations

from opencolossus.plan.mode import plain_layout
from opencolossus.plan.ranked import ranked
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout, Run
from opencolossus.train.parallel.layout import describe, fault, parse, sizes


def choose(
    description: Description,
    asked: str | None,
    processes: int,
    machine: Cluster | None,
) -> tuple[Layout, str]:
    """The layout asked for, else the description's, else the planner's; and who chose it.

    A micro-batch that nobody named is as large as keeps a device busy and fills the pipeline.

    Args:
        machine: the processes of this run, where the planner has to choose (`is_open`).

    Raises:
        UserError: ``asked`` cannot be read.
    """
    run = description.run
    if asked is not None:
        layout = parse(asked, run.layout)
        named = run.layout is not None or "mb=" in asked
        return (layout if named else plain_layout(run, layout, processes)), "as asked for"
    if run.layout is not None:
        return run.layout, "as described"
    plain = plain_layout(run, Layout(), processes)
    if machine is None:
        return plain, "data parallel"
    try:
        return planned(description, processes, machine), "the planner's choice"
    except UserError as why:
        return plain, f"data parallel, since the planner found none: {why}"


def is_open(run: Run, asked: str | None, processes: int) -> bool:
    """Whether the planner has to choose."""
    return asked is None and run.layout is None and processes > 1


def planned(description: Description, processes: int, machine: Cluster) -> Layout:
    """The fastest layout, by the planner's reckoning, that this trainer can run.

    Raises:
        UserError: none of those that fit in memory can be run here.
    """
    model, run = description.model, description.run
    for layout, data in ranked(model, run, machine):
        if fault(layout, model, run, processes) is None:
            found = sizes(layout, processes)
            if found.data == data:
                return layout if found.data > 1 else layout.model_copy(update={"zero": 0})
    raise UserError(
        f"no layout of {model.name} on {processes} processes fits in memory and divides the batch "
        f"of {run.batch_sequences} sequences"
    )


def told(layout: Layout, why: str, processes: int) -> str:
    """A sentence for the user."""
    return f"layout of {processes} processes: {describe(layout)} ({why})"
