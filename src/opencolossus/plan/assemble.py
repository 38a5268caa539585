"""From what the search found to the plan that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opencolossus.plan import compare, lattice, supply, survive, trust
from opencolossus.plan.fleet import Fleet
from opencolossus.plan.plan import MemoryParts, Plan, PoolShare, Power, StepParts
from opencolossus.plan.pricing import HEADROOM, IMBALANCE, Pricing
from opencolossus.power.caps import ASSUMED as POWER_ASSUMED
from opencolossus.power.caps import speed_at_cap
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.document import Description
from opencolossus.specs.evidence import Evidence, Fact
from opencolossus.specs.software import Calibration
from opencolossus.specs.units import DAY
from opencolossus.step.law import Cost
from opencolossus.step.memory import Memory

if TYPE_CHECKING:
    from opencolossus.plan.search import Found

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
    """The plan of the pool that does most, the other pools beside it."""
    main = max(found, key=lambda item: item.priced.tokens_per_second[item.best])
    pricing, model, run = main.pricing, description.model, description.run
    one = main.priced.layouts.take(slice(main.best, main.best + 1))
    layout, data, schedule = lattice.at(one, 0)
    gpus = int(one.gpus[0])
    cost, held = pricing.detail(one, main.cap, main.gpus)
    step_time = float(cost.time[0])
    tokens = float(one.batch[0]) * run.sequence
    rate = tokens / step_time
    flops_token = model.training_flops_per_token(run.sequence)
    gpu = pricing.pool.node.gpu
    share, survival = fleet.survival(pricing.pool, gpus, model)
    power = watts(fleet, pricing, cost, main.cap, gpus)
    days = run.tokens / (rate * share) / DAY
    interval = trust.interval(
        calibration, gpu.name, model.experts > 0, gpus, tokens / gpus, step_time
    )
    dollars = 0.0
    if fleet.site and fleet.day and fleet.weather:
        dollars = days * supply.dollars_per_day(
            fleet.site, power.facility, fleet.day, fleet.weather
        )
    price = pricing.pool.node.price
    result = Plan(
        name=description.name,
        day=fleet.day,
        model=model.name,
        cluster=fleet.cluster.name,
        gpu=gpu.name,
        software=pricing.software.name,
        precision=run.precision,
        parameters=model.parameters,
        active_parameters=model.active_parameters,
        layout=layout,
        data_parallel=data,
        schedule=schedule,
        batch=tokens,
        gpus=gpus,
        available=fleet.gpus,
        cap=main.cap,
        clock=float(speed_at_cap(gpu, main.cap)),
        step_time=step_time,
        tokens_per_second=rate,
        mfu=rate * flops_token / (gpus * gpu.peak_flops(run.precision)),
        flops=run.tokens * flops_token,
        step=step_parts(cost),
        memory=memory_parts(held, gpu.memory),
        power=power,
        goodput=share,
        survival=survival,
        days=days,
        energy=power.facility * days * DAY,
        dollars=dollars,
        hardware_dollars=None if price is None else price * gpus / pricing.pool.node.gpus,
        interval=interval,
        deadline=survive.deadline(
            run.start or fleet.day, run.deadline, days, share, survival, interval, step_time
        ),
        pools=(pool_share(main, data, layout.micro_batch, layout.recompute, step_time),),
        assumptions=assumptions(description, pricing, calibration, facts),
        layouts_priced=len(main.priced) + main.rejected[1].size,
        layouts_feasible=len(main.priced),
    )
    return compare.detailed(result, description, fleet, main) if detail else result


def pool_share(found: Found, data: int, micro: int, again: str, step_time: float) -> PoolShare:
    """The one pool of a uniform fleet."""
    pricing = found.pricing
    name = next(k for k, v in pricing.cluster.pools.items() if v.node == pricing.pool.node)
    return PoolShare(
        pool=name,
        gpu=pricing.pool.node.gpu.name,
        gpus=int(found.priced.layouts.gpus[found.best]),
        cap=found.cap,
        data_parallel=data,
        micro_batch=micro,
        recompute=again,  # type: ignore[arg-type]
        batch_share=1.0,
        step_time=step_time,
    )


def watts(fleet: Fleet, pricing: Pricing, cost: Cost, cap: float, gpus: int) -> Power:
    """Mean power of a GPU, a server, the computers and the site."""
    each = float(pricing.gpu_power(cost, cap)[0])
    node = pricing.node_watts(each)
    name = next(k for k, v in fleet.pools.items() if v.node == pricing.pool.node)
    it, facility = supply.facility_power(
        fleet.site, fleet.cluster, fleet.original(name), gpus, node, fleet.weather
    )
    return Power(
        gpu=each, node=node, it=it, facility=facility, limit=fleet.limit, pue=facility / it
    )


def step_parts(cost: Cost, index: int = 0) -> StepParts:
    """Seconds by kind of one priced layout."""
    return StepParts(**{name: float(getattr(cost, name)[index]) for name in STEP_PARTS})


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
