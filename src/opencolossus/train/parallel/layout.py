"""Which layout a run gets: asked for, checked against the model, or refused with the nearest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from opencolossus.specs.counts import divisors
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run
from opencolossus.train.batches import micro_rows

SHORT = {
    "tp": "tensor_parallel",
    "cp": "context_parallel",
    "pp": "pipeline_parallel",
    "vs": "virtual_stages",
    "ep": "expert_parallel",
    "mb": "micro_batch",
    "zero": "zero",
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
        (tensor == 1 or not model.biases, f"tp {tensor} does not go with biases"),
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
            layout.virtual_stages == 1 or micro_batches % layout.pipeline_parallel == 0,
            f"pp {layout.pipeline_parallel} does not divide {micro_batches} micro-batches",
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
        (
            layout.zero < 3 or model.width % (found.data * found.context) == 0,
            f"zero 3 over {found.data * found.context} does not divide width {model.width}",
        ),
    )
    return next((text for good, text in checks if not good), None)


def check(layout: Layout, model: Model, run: Run, processes: int) -> Sizes:
    """The sizes of a layout that can train the model.

    Raises:
        UserError: it cannot; the text gives the reason and the nearest layout that can.
    """
    wrong = fault(layout, model, run, processes)
    if wrong is None:
        return sizes(layout, processes)
    near = nearest(layout, model, run, processes)
    help_ = f"; the nearest that can: --layout {describe(near)}" if near else ""
    count = "1 process" if processes == 1 else f"{processes} processes"
    raise UserError(f"layout {describe(layout)} on {count}: {wrong}{help_}")


def nearest(layout: Layout, model: Model, run: Run, processes: int) -> Layout | None:
    """The possible layout with the fewest and smallest changes."""
    ways = divisors(processes)
    candidates = [
        layout.model_copy(
            update={
                "tensor_parallel": tp,
                "context_parallel": cp,
                "pipeline_parallel": pp,
                "expert_parallel": ep,
                "virtual_stages": vs,
            }
        )
        for tp, cp, pp, ep in product(ways, repeat=4)
        for vs in {1, layout.virtual_stages}
        if processes % (tp * cp * pp) == 0
    ]
    possible = [c for c in candidates if fault(c, model, run, processes) is None]
    return min(possible, key=lambda c: _distance(c, layout), default=None)


def describe(layout: Layout) -> str:
    """The layout as ``--layout`` takes it."""
    plain = Layout().model_dump()
    values = layout.model_dump()
    said = [f"{s}={values[f]}" for s, f in SHORT.items() if values[f] != plain[f]]
    return ",".join(said) or "tp=1"


def _distance(a: Layout, b: Layout) -> tuple[int, float]:
    pairs = [(getattr(a, name), getattr(b, name)) for name in list(SHORT.values())[:5]]
    return sum(x != y for x, y in pairs), sum(max(x, y) / min(x, y) for x, y in pairs)
