"""A plan in words: what the terminal and the page both say."""

from __future__ import annotations

from opencolossus.plan.plan import Plan
from opencolossus.plan.survive import finish
from opencolossus.report.times import duration, seconds, span
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.hardware import is_cpu
from opencolossus.specs.run import Layout
from opencolossus.specs.units import COUNT, ENERGY, MONEY, POWER, SIZE, show

PART_NAMES = {
    "compute": "compute",
    "recompute": "recomputing activations",
    "gaps": "kernel starts, host work",
    "tensor": "tensor-parallel messages",
    "context": "context-parallel messages",
    "expert": "expert dispatch",
    "sends": "pipeline messages",
    "bubble": "pipeline bubble",
    "data": "gradients and weights",
    "optimiser": "optimiser",
    "stragglers": "waiting for the slowest",
}
UNNAMED = Cluster.model_fields["name"].default
KIND_HEADS = ("kind", "GPUs", "cap", "replicas", "micro-batch", "recompute", "batch", "its step")


def device(plan: Plan) -> str:
    """What one of its devices is called."""
    return "CPU" if is_cpu(plan.gpu) else "GPU"


def memory_title(plan: Plan) -> str:
    """Used and there, of one device."""
    used, limit = show(plan.memory.total, SIZE, 3), show(plan.memory.limit, SIZE, 3)
    return f"Memory of one {device(plan)}: {used} of {limit}"


def where(plan: Plan) -> str:
    """The cluster; what it has where nobody named it."""
    return plan.cluster if plan.cluster != UNNAMED else f"{plan.available:,} GPUs"


def answer(plan: Plan) -> list[str]:
    """The plan in sentences, what matters most first."""
    lines = [
        f"{_who(plan)} {show(plan.tokens_per_day, COUNT, 3)} tokens a day: the run takes "
        f"{duration(plan.days)}{_ends(plan)} (90%: {_range(plan)})."
    ]
    if plan.deadline is not None:
        verdict = "met" if plan.deadline.met else "missed"
        lines.append(
            f"Deadline {plan.deadline.date}: {verdict}; the chance to make it is "
            f"{_chance(plan.deadline.probability)}."
        )
    return [*lines, *plan.advice]


def _chance(probability: float) -> str:
    if probability > 0.99:
        return "above 99%"
    return "below 1%" if probability < 0.01 else f"{probability:.0%}"


def _who(plan: Plan) -> str:
    if plan.day is None:
        return "This machine trains"
    who = f"{plan.gpus:,} of {plan.available:,} GPUs"
    if len(plan.pools) > 1:
        return f"{who}, {len(plan.pools)} kinds together, train"
    return f"{who} at {show(plan.cap, POWER, 3)} each train"


def _ends(plan: Plan) -> str:
    end = finish(plan.day, plan.days)
    return f", until {end}" if end is not None else ""


def _range(plan: Plan) -> str:
    low, high = (
        plan.days * bound / plan.step_time for bound in (plan.interval.low, plan.interval.high)
    )
    return f"{duration(low)} to {duration(high)}"


def layout_text(layout: Layout, data: int) -> str:
    """A layout in words, dimensions of 1 left out."""
    parts = [
        (layout.tensor_parallel, "tensor"),
        (layout.context_parallel, "context"),
        (layout.pipeline_parallel, "pipeline"),
        (data, "data"),
    ]
    text = " x ".join(f"{size:,} {name}" for size, name in parts if size > 1) or "all on one"
    if layout.expert_parallel > 1:
        text += f", experts over {layout.expert_parallel}"
    if layout.virtual_stages > 1:
        text += f", {layout.virtual_stages} chunks a stage"
    return text


def facts(plan: Plan) -> list[tuple[str, str]]:
    """Name and value of what a reader looks for first."""
    layout = plan.layout
    lowest, highest = plan.interval.low, plan.interval.high
    kind = plan.gpu if len(plan.pools) == 1 else f"mostly {plan.gpu}"
    kind = kind.removeprefix("CPU, ")
    rate = f"{show(plan.tokens_per_second, COUNT, 3)} tokens/s"
    if plan.gpus > 1:
        rate += f", {plan.tokens_per_second / plan.gpus:,.0f} per {device(plan)}"
    rows = [
        (device(plan), f"{kind}, matrix products at {plan.clock:.0%} of full speed"),
        ("layout", layout_text(layout, plan.data_parallel)),
        (
            "",
            f"micro-batch {layout.micro_batch}, ZeRO {layout.zero}, recompute {layout.recompute}, "
            f"schedule {plan.schedule}",
        ),
        (
            "step",
            f"{seconds(plan.step_time)} for {show(plan.batch, COUNT, 3)} tokens "
            f"(90%: {seconds(lowest)} to {seconds(highest)})",
        ),
        ("speed", f"{rate}, MFU {plan.mfu:.1%}"),
        (
            "work",
            f"{plan.flops:.2e} FLOP, {show(plan.parameters, COUNT, 3)} parameters, "
            f"{show(plan.active_parameters, COUNT, 3)} active",
        ),
    ]
    return rows + _site_facts(plan)


def _site_facts(plan: Plan) -> list[tuple[str, str]]:
    power = plan.power
    limit = f" of {show(power.limit, POWER, 3)}" if power.limit else ""
    each = f"{show(power.gpu, POWER, 3)} a {device(plan)}"
    rows = [
        ("power", f"mean {_mean_power(plan)}, {each}"),
        ("", f"reserved for peaks {show(power.peak, POWER, 3)}{limit}"),
        ("energy", f"{show(plan.energy, ENERGY, 3)}, {plan.energy / _tokens(plan):.3g} J a token"),
    ]
    if plan.day is not None:
        hours = show(plan.gpus * plan.days * 24.0, COUNT, 3)
        rows.append(("GPU hours", f"{hours}, with what failures and checkpoints take"))
        rows.append(("cost", _cost(plan)))
        survival = plan.survival
        rows.append(
            (
                "goodput",
                f"{plan.goodput:.1%}: a failure every {span(survival.mttf)}, a checkpoint "
                f"every {span(survival.checkpoint_interval)}, "
                f"{span(survival.restart)} lost per failure",
            )
        )
    nearest = plan.interval.nearest
    rows.append(("nearest", nearest + (" - extrapolated" if plan.interval.extrapolates else "")))
    rows.append(("software", plan.software))
    return rows


def _mean_power(plan: Plan) -> str:
    power = plan.power
    if power.pue == 1:
        return f"{show(power.it, POWER, 3)} of the computers, without cooling"
    site = f"{show(power.facility, POWER, 3)} (PUE {power.pue:.2f})"
    return f"{site}, {show(power.it, POWER, 3)} of it IT"


def _cost(plan: Plan) -> str:
    known = []
    if plan.rent_dollars is not None:
        known.append(f"{show(plan.rent_dollars, MONEY, 3)} of rent")
    if plan.dollars > 0:
        known.append(f"{show(plan.dollars, MONEY, 3)} for energy and water")
    if plan.hardware_dollars is not None and plan.rent_dollars is None:
        known.append(f"the servers cost {show(plan.hardware_dollars, MONEY, 3)} new")
    return "; ".join(known) or "not known: the description gives no prices"


def _tokens(plan: Plan) -> float:
    return plan.tokens_per_second * plan.goodput * plan.days * 86400


def kinds(plan: Plan) -> list[tuple[str, ...]]:
    """What each kind of GPU does, under ``KIND_HEADS``."""
    return [
        (
            share.gpu,
            f"{share.gpus:,}",
            show(share.cap, POWER, 3),
            f"{share.data_parallel:,}",
            str(share.micro_batch),
            share.recompute,
            f"{share.batch_share:.1%}",
            seconds(share.step_time),
        )
        for share in plan.pools
    ]


def compared(plan: Plan, tokens_per_second: float | None) -> str:
    """Speed of another layout against the chosen one."""
    if tokens_per_second is None:
        return "-"
    return f"{tokens_per_second / plan.tokens_per_second - 1:+.1%}"
