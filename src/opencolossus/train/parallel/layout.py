"""Layouts as people write them, and why one cannot train a model."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.plan.mode import micro_rows
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run

SHORT = {
    "tp": "tensor_parallel",
    "cp": "context_parallel",
    "pp": "pipeline_parallel",
    "vs": "virtual_stages",
    "ep": "expert_parallel",
    "mb": "micro_batch",
    "zero": "zero",
    "shard": "shard_group",
    "recompute": "recompute",
}
"""What ``--layout`` calls the fields."""


@dataclass(frozen=True)
class Sizes:
    """How many processes share what; their product is the number of processes."""

    pipeline: int
    data: int
    context: int
    tensor: int
    expert: int
    """Of the data-parallel ranks, how many together hold all experts (times ``tensor``)."""
    share: int = 0
    """Of the ranks with the same weights, how many share states (ZeRO); 0 for all of them."""

    @property
    def processes(self) -> int:
        """All of them."""
        return self.pipeline * self.data * self.context * self.tensor


def parse(text: str, base: Layout | None = None) -> Layout:
    """Read ``tp=2,pp=2``; what is not named stays as in ``base``.

    Raises:
        UserError: an unknown name, or a value that the field does not take.
    """
    fields = (base or Layout()).model_dump()
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        long = SHORT.get(name, name)
        if long not in fields:
            known = ", ".join(SHORT)
            raise UserError(
                f"--layout {text}: {name!r} is unknown{did_you_mean(name, SHORT)}; known: {known}"
            )
        fields[long] = value
    try:
        return Layout.model_validate(fields)
    except ValueError as error:
        first = str(error).splitlines()
        raise UserError(f"--layout {text}: {first[1].strip()}: {first[2].strip()}") from None


def sizes(layout: Layout, processes: int) -> Sizes:
    """The layout over a number of processes; data parallel is what remains.

    Raises:
        UserError: the processes do not divide.
    """
    inner = layout.tensor_parallel * layout.context_parallel * layout.pipeline_parallel
    if processes % inner:
        raise UserError(
            f"it needs a multiple of {inner} processes; start {-(-processes // inner) * inner} "
            "with torchrun, or lower a size"
        )
    return Sizes(
        pipeline=layout.pipeline_parallel,
        data=processes // inner,
        context=layout.context_parallel,
        tensor=layout.tensor_parallel,
        expert=layout.expert_parallel,
        share=layout.shard_group,
    )


def fault(layout: Layout, model: Model, run: Run, processes: int) -> str | None:
    """Why this layout cannot train this model, or None."""
    try:
        found = sizes(layout, processes)
    except UserError as error:
        return str(error)
    tensor, spread = found.tensor, found.expert * found.tensor
    cut = found.context * found.tensor
    rows = run.batch_sequences
    stages = layout.pipeline_parallel * layout.virtual_stages
    each = max(rows // found.data, 1)
    micro_batches = each // micro_rows(layout.micro_batch, each)
    checks = (
        (model.kv_heads % tensor == 0, f"tp {tensor} does not divide kv_heads {model.kv_heads}"),
        (
            model.feed_forward % tensor == 0,
            f"tp {tensor} does not divide feed_forward {model.feed_forward}",
        ),
        (
            (model.shared_experts * model.expert_feed_forward) % tensor == 0,
            f"tp {tensor} does not divide the shared experts' inner size",
        ),
        (run.sequence % cut == 0, f"cp x tp {cut} does not divide run.sequence {run.sequence}"),
        (stages <= model.layers, f"pp x vs {stages} exceeds layers {model.layers}"),
        (
            layout.virtual_stages == 1 or layout.pipeline_parallel > 1,
            "vs needs pp of 2 or more",
        ),
        (
            stages == 1 or micro_batches >= stages,
            f"{micro_batches} micro-batches cannot fill {stages} stages; lower mb",
        ),
        (
            layout.virtual_stages == 1
            or micro_batches % max(micro_batches // layout.pipeline_parallel, 1) == 0,
            f"{micro_batches} micro-batches do not fall into equal groups of "
            f"{layout.pipeline_parallel} or a little more, as interleaved stages need them",
        ),
        (
            layout.virtual_stages == 1 or model.layers % stages == 0,
            f"pp x vs {stages} does not divide layers {model.layers}",
        ),
        (found.expert == 1 or model.experts > 0, f"ep {found.expert} needs a model with experts"),
        (found.data % found.expert == 0, f"ep {found.expert} does not divide dp {found.data}"),
        (
            model.experts % spread == 0,
            f"ep x tp {spread} does not divide experts {model.experts}",
        ),
        (rows % found.data == 0, f"dp {found.data} does not divide the batch of {rows} sequences"),
        *_sharing(layout, model, found),
    )
    return next((text for good, text in checks if not good), None)


def _sharing(layout: Layout, model: Model, found: Sizes) -> tuple[tuple[bool, str], ...]:
    same, experts = found.data * found.context, found.data * found.context // found.expert
    share = found.share or same
    return (
        (same % share == 0, f"shard {share} does not divide the {same} ranks of dp x cp"),
        (
            model.experts == 0 or max(experts, 1) % min(share, max(experts, 1)) == 0,
            f"shard {share} does not divide the {experts} ranks that hold the same experts",
        ),
        (
            layout.zero < 3 or model.width % share == 0,
            f"zero 3 over {share} does not divide width {model.width}",
        ),
    )


def describe(layout: Layout) -> str:
    """The layout as ``--layout`` takes it."""
    plain = Layout().model_dump()
    values = layout.model_dump()
    said = [f"{s}={values[f]}" for s, f in SHORT.items() if values[f] != plain[f]]
    return ",".join(said) or "tp=1"
