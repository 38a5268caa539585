"""The layout of a run where the description or the command line leave it open."""

from __future__ import annotations

from opencolossus.specs.run import Layout, Run
from opencolossus.train.parallel.layout import parse

TOKENS_AT_ONCE = 16_384
"""Tokens of a micro-batch where nobody names its size: enough rows to keep a device busy."""


def choose(run: Run, asked: str | None, processes: int) -> Layout:
    """The layout asked for, else the description's, else data parallel alone.

    A micro-batch that nobody named is as large as keeps a device busy and fills the pipeline.

    Raises:
        UserError: ``asked`` cannot be read.
    """
    if asked is None and run.layout is not None:
        return run.layout
    layout = parse(asked, run.layout) if asked else Layout()
    named = run.layout is not None or (asked is not None and "mb=" in asked)
    return (
        layout
        if named
        else layout.model_copy(update={"micro_batch": _rows(run, layout, processes)})
    )


def _rows(run: Run, layout: Layout, processes: int) -> int:
    inner = layout.tensor_parallel * layout.context_parallel * layout.pipeline_parallel
    each = max(run.batch_sequences // max(processes // inner, 1), 1)
    stages = layout.pipeline_parallel * layout.virtual_stages
    return max(min(TOKENS_AT_ONCE // run.sequence, each // stages), 1)
