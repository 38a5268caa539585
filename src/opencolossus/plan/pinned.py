"""A layout that a description asks for: what it contradicts, in one sentence."""

from __future__ import annotations

from opencolossus.specs.counts import divisors
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run


def check(model: Model, run: Run, layout: Layout) -> None:
    """Refuse a layout that no number of GPUs could run.

    Raises:
        UserError: names the field, its value and valid ones.
    """
    _divides("tensor_parallel", layout.tensor_parallel, model.heads, f"heads of {model.name}")
    _divides("context_parallel", layout.context_parallel, run.sequence, "tokens of run.sequence")
    if layout.expert_parallel > 1:
        if not model.experts:
            raise UserError(
                f"run.layout.expert_parallel is {layout.expert_parallel}, but {model.name} has no "
                "experts; leave it out"
            )
        _divides(
            "expert_parallel", layout.expert_parallel, model.experts, f"experts of {model.name}"
        )
    _pipeline(model, layout)
    if layout.micro_batch > run.batch_sequences:
        raise UserError(
            f"run.layout.micro_batch is {layout.micro_batch} sequences, but run.batch holds "
            f"{run.batch_sequences}; give at most {run.batch_sequences}"
        )


def _divides(name: str, value: int, of: int, what: str) -> None:
    if of % value:
        near = sorted(sorted(divisors(of), key=lambda d: abs(d - value))[:3])
        valid = ", ".join(map(str, near))
        raise UserError(
            f"run.layout.{name} is {value}, which does not divide the {of} {what}; {valid} do"
        )


def _pipeline(model: Model, layout: Layout) -> None:
    stages, chunks = layout.pipeline_parallel, layout.virtual_stages
    if stages > model.layers:
        raise UserError(
            f"run.layout.pipeline_parallel is {stages}, but {model.name} has {model.layers} "
            f"layers; give at most {model.layers}"
        )
    if chunks > 1 and stages == 1:
        raise UserError(
            f"run.layout.virtual_stages is {chunks}, but there is one pipeline stage; "
            "set pipeline_parallel to 2 or more, or virtual_stages to 1"
        )
    most = -(-model.layers // stages)
    if chunks > most:
        raise UserError(
            f"run.layout.virtual_stages is {chunks}, but a stage of {model.name} in {stages} has "
            f"{most} layers; give at most {most}"
        )
