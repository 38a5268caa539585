"""Why GPUs stay dark, in a sentence, and what would give them work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from opencolossus.plan import filled
from opencolossus.plan.fleet import Fleet
from opencolossus.plan.parts import Part
from opencolossus.plan.plan import Plan
from opencolossus.specs.run import Run
from opencolossus.specs.units import COUNT, POWER, show

FEW = 0.005
"""Share of the GPUs that nobody asks about."""


def best_batch(flops: float) -> float:
    """Tokens per step that train best for a compute of ``flops``: 0.2920 C^0.3271.

    Bi et al. 2024 (DeepSeek LLM, arXiv 2401.02954, section 3.1, eq. 1); a fit to runs of up to
    2e19 FLOP, which their own 7B and 67B models followed.
    """
    return float(0.2920 * flops**0.3271)


def dark(plan: Plan, run: Run, fleet: Fleet, parts: Sequence[Part]) -> Iterator[str]:
    """Sentences on GPUs that are there and do not work: power, whole replicas, or the batch."""
    carried = sum(part.found.carried for part in parts)
    there = sum(fleet.pools[share.pool].gpus for share in plan.pools)
    if there - carried > FEW * there and fleet.limit is not None:
        caps = " and ".join(dict.fromkeys(show(part.found.cap, POWER, 3) for part in parts))
        yield (
            f"{show(fleet.limit, POWER, 3)} carry {carried:,} of {there:,} GPUs at {caps}; "
            "more of them at a lower cap would not train faster."
        )
    short = [text for part in parts for text in _unused(part, run, alone=len(parts) == 1)]
    yield from short
    if any("no work" in text for text in short):
        yield batch_room(plan)


def _unused(part: Part, run: Run, alone: bool) -> Iterator[str]:
    """GPUs of one kind that power carries and the layout leaves out."""
    left = part.found.carried - part.gpus
    if left <= FEW * part.found.carried:
        return
    most = int(filled.most_replicas(part.one, part.found.carried)[0])
    size = part.gpus // part.replicas
    kind = "GPUs" if alone else part.found.pricing.pool.node.gpu.name
    if most <= part.replicas:
        group = int(filled.expert_group(part.one)[0]) * size
        yield (f"{left:,} {kind} are left over: replicas come in lots of {group:,} GPUs.")
        return
    micro, count = int(part.one.micro_batch[0]), round(float(part.one.micro_batches[0]))
    text = (
        f"{left:,} {kind} have no work: the batch gives each of {part.replicas:,} "
        f"replica{'s' * (part.replicas > 1)} {count} micro-batch{'es' * (count > 1)} of {micro} "
        f"sequence{'s' * (micro > 1)}"
    )
    if count > 1:
        more = int(np.ceil(part.one.batch[0] / ((count - 1) * micro)))
        text += f", and one less each would take {more:,} replicas ({more * size:,} GPUs)"
    if alone:
        whole = most * count * micro * run.sequence
        text += f". A batch of {show(whole, COUNT, 3)} tokens would use them"
    yield text + "."


def batch_room(plan: Plan) -> str:
    """What compute says about the batch."""
    best = show(float(f"{best_batch(plan.flops):.2g}"), COUNT, 3)
    return (
        f"The best batch for {plan.flops:.1e} FLOP is about {best} tokens by the fit of Bi et al. "
        "(2024); beyond it tokens teach less."
    )
