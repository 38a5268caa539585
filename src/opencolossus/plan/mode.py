"""What a run computes in and what it compiles: one decision for the planner and the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from opencolossus.specs.hardware import Precision
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run

Compiling = Literal["none", "functions", "blocks"]

WORTH = 1.1
"""16-bit products must be so much faster than 32-bit ones on a CPU to be used there."""
MATRIX_UNITS = 2.5
"""The same where a CPU multiplies on matrix units: vectors of pairs are twice as fast at most."""
EARNED_BACK = 150.0
"""Seconds of training after which compiling (about 20 s of two cores, once a machine) has paid."""
SLOW = 100e9
"""FLOP/s that even a small model reaches on two cores, for a guess at how long a run takes."""
TOKENS_AT_ONCE = 16_384
"""Tokens of a micro-batch where nobody names its size: enough rows to keep a device busy."""
ON_CPU: dict[Compiling, str] = {
    "functions": "opencolossus-cpu",
    "none": "opencolossus-cpu-eager",
    "blocks": "opencolossus-cpu-blocks",
}
"""The catalog's names of our trainer on a CPU in 16 bits, by what it compiles."""


def trainer(compiled: Compiling, precision: Precision, gain: float) -> str:
    """The catalog's name of our trainer on a CPU: other kernels in 32 bits and on matrix units.

    Args:
        gain: rate of 16-bit matrix products over that of 32-bit ones.
    """
    units = "-amx" if gain > MATRIX_UNITS else ""
    return ON_CPU[compiled] + ("-32" if precision == "fp32" else units)


def on_cpu(wanted: Precision, gain: Callable[[], float]) -> Precision:
    """What a run computes in on a CPU: 16 bits where their products are so much faster.

    Args:
        gain: rate of 16-bit matrix products over that of 32-bit ones; asked where it matters.
    """
    if wanted != "bf16":
        return wanted
    return "bf16" if gain() > WORTH else "fp32"


def compiled(run: Run, model: Model, cpu: bool, can: Callable[[], bool]) -> Compiling:
    """What to compile: as described, or what pays on the device.

    On a GPU whole blocks, on a CPU the small functions between matrix products of a run long
    enough to earn that back: there, compiled blocks were no faster (docs/decisions.md).

    Args:
        can: whether anything can be compiled; asked where it matters, since trying takes seconds.
    """
    if run.compile != "auto":
        return run.compile
    if not cpu:
        return "blocks" if can() else "none"
    work = run.tokens * model.training_flops_per_token(run.sequence)
    expected = min(run.time_limit or math.inf, work / SLOW)
    return "functions" if expected > EARNED_BACK and can() else "none"


def plain_layout(run: Run, layout: Layout, processes: int) -> Layout:
    """``layout`` with micro-batches as large as keep a device busy and fill the pipeline."""
    stages = layout.pipeline_parallel * layout.virtual_stages
    rows = min(TOKENS_AT_ONCE // run.sequence, _each(run, layout, processes) // stages)
    wanted = layout.model_copy(update={"micro_batch": max(rows, 1)})
    return whole_micro_batches(run, wanted, processes)


def whole_micro_batches(run: Run, layout: Layout, processes: int) -> Layout:
    """``layout`` with the micro-batches that the trainer takes: they divide what each rank has."""
    rows = micro_rows(layout.micro_batch, _each(run, layout, processes))
    return layout.model_copy(update={"micro_batch": rows})


def micro_rows(wanted: int, rows: int) -> int:
    """Rows of one micro-batch: the largest divisor of a process's ``rows`` up to ``wanted``."""
    return max(n for n in range(1, rows + 1) if rows % n == 0 and n <= max(wanted, 1))


def inner(layout: Layout) -> int:
    """Processes of one replica."""
    return layout.tensor_parallel * layout.context_parallel * layout.pipeline_parallel


def _each(run: Run, layout: Layout, processes: int) -> int:
    """Sequences of a step that each replica has."""
    return max(run.batch_sequences // max(processes // inner(layout), 1), 1)
