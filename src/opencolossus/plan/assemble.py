"""From what the search found to the plan that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opencolossus.plan import compare, here, idle, lattice, supply, survive, trust
from opencolossus.plan.fleet import Fleet
from opencolossus.plan.parts import Part, parts_of
from opencolossus.plan.plan import MemoryParts, Plan, PoolShare, Power, StepParts
from opencolossus.plan.pricing import HEADROOM, IMBALANCE, Pricing
from opencolossus.power.caps import ASSUMED as POWER_ASSUMED
from opencolossus.power.caps import speed_at_cap
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.document import Description
from opencolossus.specs.evidence import Evidence, Fact
from opencolossus.specs.run import Run
from opencolossus.specs.software import Calibration
from opencolossus.specs.units import DAY
from opencolossus.step.law import Cost
from opencolossus.step.memory import Memory

if TYPE_CHECKING:
    from opencolossus.plan.joint import Found

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
    parts = parts_of(found, description.run)
    main = parts[0]
    pricing, model, run = main.found.pricing, description.model, description.run
    layout, _, schedule = lattice.at(main.one, 0)
    data = sum(part.replicas for part in parts)
    gpus = sum(part.gpus for part in parts)
    step_time = max(part.seconds for part in parts)
    tokens = sum(float(part.one.batch[0]) for part in parts) * run.sequence
    rate = tokens / step_time
    gpu = pricing.pool.node.gpu
    share, survival = fleet.survival(pricing.pool, gpus, model, data, step_time)
    power = watts(fleet, parts)
    days = run.tokens / (rate * share) / DAY
    interval = trust.interval(
        calibration, gpu.name, model.experts > 0, gpus, tokens / gpus, step_time
    )
    dollars = 0.0
    if fleet.site and fleet.day and fleet.weather:
        dollars = days * supply.dollars_per_day(
            fleet.site, power.facility, fleet.day, fleet.weather
        )
    result = Plan(
        **_identity(description, fleet, pricing),
        layout=layout,
        data_parallel=data,
        schedule=schedule,
        batch=tokens,
        gpus=gpus,
        available=fleet.gpus,
        cap=main.found.cap,
        clock=float(speed_at_cap(gpu, main.found.cap)),
        step_time=step_time,
        tokens_per_second=rate,
        mfu=rate * model.training_flops_per_token(run.sequence) / peak(parts, run),
        step=step_parts(main.cost, waiting=step_time - main.seconds),
        memory=memory_parts(main.held, gpu.memory),
        power=power,
        goodput=share,
        survival=survival,
        days=days,
        energy=power.facility * days * DAY,
        dollars=dollars,
        hardware_dollars=hardware(parts),
        rent_dollars=rent(parts, days),
        interval=interval,
        deadline=survive.deadline(
            max(filter(None, (run.start, fleet.day)), default=None),
            run.deadline,
            days,
            share,
            survival,
            interval,
            step_time,
        ),
        pools=tuple(pool_share(fleet, part, tokens / run.sequence) for part in parts),
        assumptions=assumptions(description, pricing, calibration, facts),
        layouts_priced=sum(len(f.priced) + f.rejected[1].size for f in found),
        layouts_feasible=sum(len(f.priced) for f in found),
    )
    told = tuple(idle.dark(result, run, fleet, parts)) + resting(fleet, found, parts)
    result = result.model_copy(update={"advice": told})
    return compare.detailed(result, description, fleet, parts) if detail else result


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


def hardware(parts: Sequence[Part]) -> float | None:
    """What the servers at work cost new; none where a price is not known."""
    total = 0.0
    for part in parts:
        node = part.found.pricing.pool.node
        if node.price is None:
            return None
        total += node.price * part.gpus / node.gpus
    return total


def rent(parts: Sequence[Part], days: float) -> float | None:
    """What the GPUs at work cost in ``days``; none where they are not, or not all, rented."""
    prices = [part.found.pricing.pool.gpu_hour for part in parts]
    each = [p * part.gpus for p, part in zip(prices, parts, strict=True) if p is not None]
    return sum(each) * days * 24.0 if len(each) == len(parts) else None


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


def watts(fleet: Fleet, parts: Sequence[Part]) -> Power:
    """Power of a GPU and a server of the main kind, of the computers and of the site."""
    it = facility = peak = 0.0
    first: tuple[float, float] | None = None
    for part in parts:
        pricing = part.found.pricing
        each = float(pricing.gpu_power(part.cost, part.found.cap)[0])
        node = pricing.node_watts(each)
        first = first or (each, node)
        pool = fleet.original(fleet.name_of(pricing.pool))
        drawn, entered = supply.facility_power(
            fleet.site, fleet.cluster, pool, part.gpus, node, fleet.weather
        )
        it, facility = it + drawn, facility + entered
        peak += supply.peak_power(
            fleet.site, fleet.cluster, pool, part.gpus, part.found.cap, fleet.weather
        )
    assert first is not None
    return Power(
        gpu=first[0],
        node=first[1],
        it=it,
        facility=facility,
        peak=peak,
        limit=fleet.limit,
        pue=facility / it,
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


def assumptions(
    description: Description,
    pricing: Pricing,
    calibration: Calibration,
    facts: dict[str, Fact],
) -> tuple[str, ...]:
    """What the plan leans on that nobody measured."""
    gpu = pricing.pool.node.gpu.name
    found = list(POWER_ASSUMED.values()) if description.site else []
    _, _, known = calibrations.reach_of(calibration, gpu)
    if not known:
        found.append(f"no training run on {gpu} was ever measured: it is priced like an H100")
    if description.model.experts:
        found.append(
            f"the fullest expert rank gets {IMBALANCE:g} times the mean (routing imbalance)"
        )
    if gpu.startswith("CPU"):
        found.append(f"a core of this machine draws {here.WATTS_PER_CORE:g} W at work")
    found.append(f"{1 - HEADROOM:.0%} of GPU memory is lost to fragmentation")
    if pricing.cluster.failures is None and description.site is not None:
        found.append("failures come as in Llama 3's cluster of 2024; restarts take 10 minutes")
    for path, fact in sorted(facts.items()):
        if fact.evidence is Evidence.ASSUMED and _matters(path):
            note = f" ({fact.note})" if fact.note else ""
            found.append(f"{path} = {fact.value}{note}")
    return tuple(found)


def _matters(path: str) -> bool:
    """Whether a planned number depends on a field."""
    ignored = ("price", "acceptance", "halls", "area", "infant", "ramp", "rent", "nox")
    return not any(word in path for word in ignored)
