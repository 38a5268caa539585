"""From what the search found to the plan that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from opencolossus.plan import compare, idle, lattice, survive, trust
from opencolossus.plan.assumptions import assumptions
from opencolossus.plan.bill import bill
from opencolossus.plan.familiar import DENSE, EXPERTS, Aspects
from opencolossus.plan.fleet import Fleet
from opencolossus.plan.machines import KINDS
from opencolossus.plan.parts import Part, parts_of
from opencolossus.plan.plan import Interval, MemoryParts, Plan, PoolShare, StepParts
from opencolossus.plan.pricing import Pricing
from opencolossus.power.caps import speed_at_cap
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.document import Description
from opencolossus.specs.evidence import Fact
from opencolossus.specs.run import Run
from opencolossus.specs.scales import DAY
from opencolossus.specs.software import Calibration
from opencolossus.step.law import Cost
from opencolossus.step.memory import Memory

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

PRECISIONS = {"8": "fp8", "4": "fp4"}
"""As tables of measurements name them; 16 bits are all the same."""
RESTS = "A kind of GPU gets no work"
STEP_PARTS = tuple(name for name in StepParts.model_fields)
MEMORY_PARTS = tuple(name for name in MemoryParts.model_fields if name not in ("total", "limit"))


def plan(
    description: Description,
    fleet: Fleet,
    found: Sequence[Found],
    calibration: Calibration,
    facts: dict[str, Fact],
    detail: bool,
) -> Plan:
    """The plan: the layout of the kind of GPU that there is most of, and each kind's share."""
    parts, run = parts_of(found, description.run), description.run
    job, pricing = _job(parts, run), parts[0].found.pricing
    share, survival = fleet.survival(
        pricing.pool, job.gpus, description.model, job.data, job.step_time
    )
    days = run.tokens / (job.rate * share) / DAY
    interval = _interval(description, job, pricing, calibration)
    start = max(filter(None, (run.start, fleet.day)), default=None)
    result = Plan(
        **_identity(description, fleet, pricing),
        **_work(description, fleet, parts, job),
        **bill(fleet, parts, days),
        goodput=share,
        survival=survival,
        days=days,
        interval=interval,
        deadline=survive.deadline(
            start, run.deadline, days, share, survival, interval, job.step_time
        ),
        assumptions=assumptions(description, pricing, calibration, facts),
        layouts_priced=sum(f.layouts.size for f in found),
        layouts_feasible=sum(len(f.priced) for f in found),
    )
    told = tuple(idle.dark(result, run, fleet, parts)) + resting(fleet, found, parts)
    result = result.model_copy(update={"advice": told})
    return compare.detailed(result, description, fleet, parts) if detail else result


class Job(NamedTuple):
    """All kinds of GPU at work together."""

    data: int
    """Replicas."""
    gpus: int
    step_time: float
    tokens: float
    """Of a step."""

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.step_time


def _job(parts: Sequence[Part], run: Run) -> Job:
    return Job(
        data=sum(part.replicas for part in parts),
        gpus=sum(part.gpus for part in parts),
        step_time=max(part.seconds for part in parts),
        tokens=sum(float(part.one.batch[0]) for part in parts) * run.sequence,
    )


def _interval(
    description: Description, job: Job, pricing: Pricing, calibration: Calibration
) -> Interval:
    gpu, software = pricing.pool.node.gpu.name, pricing.software
    model, sparse = description.model, description.model.experts > 0
    architecture, _, _ = calibrations.reach_of(calibration, gpu)
    run = Aspects(
        architecture=architecture,
        software=software.name,
        era=software.era,
        kind=EXPERTS if sparse else DENSE,
        precision=PRECISIONS.get(KINDS[description.run.precision], "bf16"),
        sequence=description.run.sequence,
        experts=model.experts,
        chosen=model.experts_per_token if sparse else 0,
        expert_size=model.expert_feed_forward if sparse else 0,
    )
    each = job.tokens / job.gpus
    return trust.interval(calibration, gpu, run, job.gpus, each, job.step_time)


def _work(
    description: Description, fleet: Fleet, parts: Sequence[Part], job: Job
) -> dict[str, Any]:
    """Who does what, and how fast."""
    main, run = parts[0], description.run
    layout, _, schedule = lattice.at(main.one, 0)
    gpu = main.found.pricing.pool.node.gpu
    useful = job.rate * description.model.training_flops_per_token(run.sequence)
    return {
        "layout": layout,
        "data_parallel": job.data,
        "schedule": schedule,
        "batch": job.tokens,
        "gpus": job.gpus,
        "available": fleet.gpus,
        "cap": main.found.cap,
        "clock": float(speed_at_cap(gpu, main.found.cap)),
        "step_time": job.step_time,
        "tokens_per_second": job.rate,
        "mfu": useful / peak(parts, run),
        "step": step_parts(main.cost, waiting=job.step_time - main.seconds),
        "memory": memory_parts(main.held, gpu.memory),
        "pools": tuple(pool_share(fleet, part, job.tokens / run.sequence) for part in parts),
    }


def resting(fleet: Fleet, found: Sequence[Found], parts: Sequence[Part]) -> tuple[str, ...]:
    """Why kinds of GPU that could train get no work beside the others."""
    working = {fleet.name_of(part.found.pricing.pool) for part in parts}
    size = max(part.gpus // part.replicas for part in parts)
    told = []
    for item in found:
        name = fleet.name_of(item.pricing.pool)
        if name not in working:
            why = f"with this batch its {item.carried:,} GPUs would hold the others up"
            if item.carried < size:
                why = f"its {item.carried:,} GPUs are fewer than one replica ({size:,})"
            told.append(f"{RESTS}: pool {name}, {why}.")
    return tuple(told)


def _identity(description: Description, fleet: Fleet, pricing: Pricing) -> dict[str, Any]:
    """What is planned, and on what."""
    model, run = description.model, description.run
    return {
        "name": description.name,
        "day": fleet.day,
        "model": model.name,
        "cluster": fleet.cluster.name,
        "gpu": pricing.pool.node.gpu.name,
        "software": pricing.software.name,
        "precision": run.precision,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "flops": run.tokens * model.training_flops_per_token(run.sequence),
    }


def peak(parts: Sequence[Part], run: Run) -> float:
    """FLOP/s of all GPUs at work, as on their data sheets."""
    return sum(p.gpus * p.found.pricing.pool.node.gpu.peak_flops(run.precision) for p in parts)


def pool_share(fleet: Fleet, part: Part, sequences: float) -> PoolShare:
    """One kind's part of the work."""
    layout, data, _ = lattice.at(part.one, 0)
    return PoolShare(
        pool=fleet.name_of(part.found.pricing.pool),
        gpu=part.found.pricing.pool.node.gpu.name,
        gpus=part.gpus,
        cap=part.found.cap,
        data_parallel=data,
        micro_batch=layout.micro_batch,
        recompute=layout.recompute,
        batch_share=float(part.one.batch[0]) / sequences,
        step_time=part.seconds,
    )


def step_parts(cost: Cost, index: int = 0, waiting: float = 0.0) -> StepParts:
    """Seconds by kind of one priced layout; ``waiting`` for another kind counts as stragglers."""
    parts = {name: float(getattr(cost, name)[index]) for name in STEP_PARTS}
    parts["stragglers"] += waiting
    return StepParts(**parts)


def memory_parts(held: Memory, limit: float, index: int = 0) -> MemoryParts:
    """Bytes by kind of one priced layout."""
    parts = {name: float(_entry(getattr(held, name), index)) for name in MEMORY_PARTS}
    return MemoryParts(**parts, total=sum(parts.values()), limit=limit)


def _entry(column: object, index: int) -> float:
    values = column.ravel()  # type: ignore[attr-defined]
    return float(values[index if values.size > 1 else 0])
