"""A plan in the terminal: the answer first, then what it rests on."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencolossus.plan.plan import Plan
from opencolossus.plan.survive import finish
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
    "data": "gradients and weights between replicas",
    "optimiser": "optimiser",
    "stragglers": "waiting for the slowest",
}
BAR = 24


def show_plan(console: Console, plan: Plan, whole: bool = False) -> None:
    """Print a plan; ``whole`` also prints every assumption and alternative."""
    console.print(f"[bold]{escape(plan.name)}[/]: {escape(plan.model)} on {escape(plan.cluster)}")
    for line in answer(plan):
        console.print(line)
    console.print()
    console.print(_facts(plan))
    console.print()
    console.print(_step(plan))
    console.print()
    console.print(_memory(plan))
    for table in (_curve(plan), _alternatives(plan, whole), _sensitivities(plan)):
        if table is not None:
            console.print()
            console.print(table)
    _footnotes(console, plan, whole)


def answer(plan: Plan) -> list[str]:
    """The plan in sentences."""
    who = f"{plan.gpus:,} of {plan.available:,} GPUs at {show(plan.cap, POWER, 3)} each train"
    if plan.day is None:
        who = "This machine trains"
    lines = [
        f"{who} {show(plan.tokens_per_day, COUNT, 3)} tokens a day"
        + f": the run takes [bold]{duration(plan.days)}[/]"
        + _ends(plan)
        + "."
    ]
    if plan.deadline is not None:
        verdict = "[green]met[/]" if plan.deadline.met else "[red]missed[/]"
        lines.append(
            f"Deadline {plan.deadline.date}: {verdict}; the chance to make it is "
            f"{plan.deadline.probability:.0%}."
        )
    return [*lines, *(escape(text) for text in plan.advice)]


def _ends(plan: Plan) -> str:
    end = finish(plan.day, plan.days)
    return f", until {end}" if end is not None else ""


def duration(days: float) -> str:
    """Days as people say them."""
    if days < 2 / 24:
        return f"{days * 1440:.1f} minutes"
    if days < 2:
        return f"{days * 24:.1f} hours"
    return f"{days:,.1f} days" if days < 1000 else f"{days / 365.25:,.1f} years"


def seconds(value: float) -> str:
    """Seconds with the unit that suits them."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def layout_text(layout: Layout, data: int) -> str:
    """A layout in words, dimensions of 1 left out."""
    parts = [
        (layout.tensor_parallel, "tensor"),
        (layout.context_parallel, "context"),
        (layout.pipeline_parallel, "pipeline"),
        (data, "data"),
    ]
    text = " x ".join(f"{size:,} {name}" for size, name in parts if size > 1) or "one GPU"
    if layout.expert_parallel > 1:
        text += f", experts over {layout.expert_parallel}"
    if layout.virtual_stages > 1:
        text += f", {layout.virtual_stages} chunks a stage"
    return text


def _facts(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in facts(plan):
        table.add_row(name, escape(text))
    return table


def facts(plan: Plan) -> list[tuple[str, str]]:
    """Name and value of what a reader looks for first."""
    layout = plan.layout
    lowest, highest = plan.interval.low, plan.interval.high
    rows = [
        ("GPU", f"{plan.gpu}, matrix products at {plan.clock:.0%} of full speed"),
        ("layout", layout_text(layout, plan.data_parallel)),
        (
            "",
            f"micro-batch {layout.micro_batch}, ZeRO {layout.zero}, recompute {layout.recompute}, "
            f"schedule {plan.schedule}",
        ),
        (
            "step",
            f"{seconds(plan.step_time)} for {show(plan.batch, COUNT, 3)} tokens "
            f"(90 %: {seconds(lowest)} to {seconds(highest)})",
        ),
        (
            "speed",
            f"{show(plan.tokens_per_second, COUNT, 3)} tokens/s, "
            f"{plan.tokens_per_second / plan.gpus:,.0f} per GPU, MFU {plan.mfu:.1%}",
        ),
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
    rows = [
        (
            "power",
            f"{show(power.gpu, POWER, 3)} a GPU, {show(power.it, POWER, 3)} IT, "
            f"{show(power.facility, POWER, 3)} site{limit} (PUE {power.pue:.2f})",
        ),
        ("energy", f"{show(plan.energy, ENERGY, 3)}, {plan.energy / _tokens(plan):.3g} J a token"),
    ]
    if plan.day is not None:
        rows.append(("cost", _cost(plan)))
        survival = plan.survival
        rows.append(
            (
                "goodput",
                f"{plan.goodput:.1%}: a failure every {survival.mttf / 3600:.1f} h, a checkpoint "
                f"every {survival.checkpoint_interval / 60:.1f} min, "
                f"{survival.restart / 60:.0f} min to restart",
            )
        )
    nearest = plan.interval.nearest
    rows.append(("nearest", nearest + (" - extrapolated" if plan.interval.extrapolates else "")))
    rows.append(("software", plan.software))
    return rows


def _cost(plan: Plan) -> str:
    text = f"{show(plan.dollars, MONEY, 3)} for energy and water"
    if plan.hardware_dollars is not None:
        text += f"; the servers cost {show(plan.hardware_dollars, MONEY, 3)} new"
    return text


def _tokens(plan: Plan) -> float:
    return plan.tokens_per_second * plan.goodput * plan.days * 86400


def _bar(share: float) -> str:
    return "█" * round(share * BAR)


def _step(plan: Plan) -> Table:
    table = Table(title="One step", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("", "left"), ("time", "right"), ("share", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    parts = plan.step.model_dump()
    for name, value in sorted(parts.items(), key=lambda item: -item[1]):
        share = value / plan.step_time
        if share >= 0.0005:
            table.add_row(PART_NAMES[name], seconds(value), f"{share:.1%}", _bar(share))
    return table


def _memory(plan: Plan) -> Table:
    used, limit = show(plan.memory.total, SIZE, 3), show(plan.memory.limit, SIZE, 3)
    title = f"Memory of one GPU: {used} of {limit}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, justify in (("", "left"), ("bytes", "right"), ("share", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, value in plan.memory.model_dump().items():
        if name not in ("total", "limit"):
            share = value / plan.memory.limit
            table.add_row(name, show(value, SIZE, 3), f"{share:.1%}", _bar(share))
    return table


def _curve(plan: Plan) -> Table | None:
    if len(plan.curve) < 2:
        return None
    table = Table(title="GPUs against power cap", title_justify="left", box=None, pad_edge=False)
    for name in ("cap", "GPUs", "tokens/day", "J/token", "days", "dollars"):
        table.add_column(name, justify="right")
    for point in plan.curve:
        mark = "bold" if abs(point.cap - plan.cap) < 0.5 else ""
        table.add_row(
            show(point.cap, POWER, 3),
            f"{point.gpus:,}",
            show(point.tokens_per_day, COUNT, 3),
            f"{point.energy_per_token:.3g}",
            f"{point.days:,.0f}",
            show(point.dollars, MONEY, 3),
            style=mark,
        )
    return table


def _alternatives(plan: Plan, whole: bool) -> Table | None:
    if not plan.alternatives:
        return None
    table = Table(title="What lost, and why", title_justify="left", box=None, pad_edge=False)
    table.add_column("change")
    table.add_column("speed", justify="right")
    table.add_column("why")
    for other in plan.alternatives if whole else plan.alternatives[:6]:
        speed = "-"
        if other.tokens_per_second is not None:
            speed = f"{other.tokens_per_second / plan.tokens_per_second - 1:+.1%}"
        table.add_row(escape(other.change), speed, escape(other.why))
    return table


def _sensitivities(plan: Plan) -> Table | None:
    if not plan.sensitivities:
        return None
    table = Table(title="What inputs are worth", title_justify="left", box=None, pad_edge=False)
    table.add_column("input")
    table.add_column("change")
    table.add_column("tokens/day", justify="right")
    for item in plan.sensitivities:
        table.add_row(escape(item.input), escape(item.change), f"{item.tokens:+.1%}")
    return table


def _footnotes(console: Console, plan: Plan, whole: bool) -> None:
    console.print()
    shown = plan.assumptions if whole else plan.assumptions[:5]
    console.print(f"[bold]Leans on {len(plan.assumptions)} assumptions[/]", style="dim")
    for text in shown:
        console.print(f"  - {escape(text)}", style="dim")
    if len(shown) < len(plan.assumptions):
        rest = len(plan.assumptions) - len(shown)
        console.print(f"  and {rest} more: --all shows them", style="dim")
    priced = f"{plan.layouts_priced:,} layouts priced, {plan.layouts_feasible:,} fit in memory"
    console.print(priced, style="dim")
