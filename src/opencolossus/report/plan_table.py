"""A plan in the terminal: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from opencolossus.plan.plan import Plan
from opencolossus.report import plan_words as words
from opencolossus.report.leans import show_assumptions
from opencolossus.report.times import seconds
from opencolossus.specs.units import COUNT, MONEY, POWER, SIZE, show

BAR = 20
FEW_ALTERNATIVES = 6
COLOURS = {": met;": "green", ": missed;": "red"}


def show_plan(console: Console, plan: Plan, whole: bool = False) -> None:
    """Print a plan; ``whole`` also prints every point, assumption and alternative."""
    console.print(
        f"[bold]{escape(plan.name)}[/]: {escape(plan.model)} on {escape(words.where(plan))}"
    )
    for number, line in enumerate(words.answer(plan)):
        colour = next((c for text, c in COLOURS.items() if text in line), None)
        console.print(escape(line), style=colour or ("bold" if number == 0 else None))
    tables = (
        _facts(plan),
        _kinds(plan),
        _step(plan),
        _memory(plan),
        _curve(plan, whole),
        _front(plan) if whole else None,
        _alternatives(plan, whole),
        _sensitivities(plan),
    )
    for table in tables:
        if table is not None:
            console.print()
            console.print(table)
    _footnotes(console, plan, whole)


def _titled(title: str | None, columns: Sequence[tuple[str, str]]) -> Table:
    """An empty table with (name, alignment) of its columns."""
    shown = None if title is None else Text(title, style="bold", no_wrap=True, overflow="ignore")
    table = Table(title=shown, title_justify="left", box=None, pad_edge=False)
    for name, justify in columns:
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    return table


def _facts(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, text in words.facts(plan):
        table.add_row(name, escape(text))
    return table


def _kinds(plan: Plan) -> Table | None:
    if len(plan.pools) < 2:
        return None
    sides = ["left", *["right"] * (len(words.KIND_HEADS) - 1)]
    table = _titled("Who does what", list(zip(words.KIND_HEADS, sides, strict=True)))
    for row in words.kinds(plan):
        table.add_row(*map(escape, row))
    return table


def _bar(share: float) -> str:
    return "█" * round(share * BAR)


def _step(plan: Plan) -> Table:
    columns = (("", "left"), ("time", "right"), ("share", "right"), ("", "left"))
    table = _titled(f"One step: {seconds(plan.step_time)}", columns)
    parts = plan.step.model_dump()
    for name, value in sorted(parts.items(), key=lambda item: -item[1]):
        share = value / plan.step_time
        if share >= 0.0005:
            table.add_row(words.PART_NAMES[name], seconds(value), f"{share:.1%}", _bar(share))
    return table


def _memory(plan: Plan) -> Table:
    columns = (("", "left"), ("bytes", "right"), ("share", "right"), ("", "left"))
    table = _titled(words.memory_title(plan), columns)
    for name, value in plan.memory.model_dump().items():
        if name not in ("total", "limit"):
            share = value / plan.memory.limit
            table.add_row(name, show(value, SIZE, 3), f"{share:.1%}", _bar(share))
    return table


def _curve(plan: Plan, whole: bool) -> Table | None:
    if len(plan.curve) < 2:
        return None
    heads = ("cap", "GPUs", "tokens/day", "J/token", "days", "dollars")
    table = _titled("GPUs against power cap", [(name, "right") for name in heads])
    for number, point in enumerate(plan.curve):
        chosen = abs(point.cap - plan.cap) < 0.5
        if not (whole or chosen or number % 2 == 0):
            continue
        table.add_row(
            show(point.cap, POWER, 3),
            f"{point.gpus:,}",
            show(point.tokens_per_day, COUNT, 3),
            f"{point.energy_per_token:.3g}",
            f"{point.days:,.0f}",
            show(point.dollars, MONEY, 3) + (" <- chosen" if chosen else ""),
            style="bold" if chosen else "",
        )
    return table


def _front(plan: Plan) -> Table | None:
    if len(plan.pareto) < 2:
        return None
    heads = ("days", "GPUs", "cap", "GWh", "dollars")
    title = "What nothing beats in days, energy and dollars at once"
    table = _titled(title, [(name, "right") for name in heads])
    for point in plan.pareto:
        table.add_row(
            f"{point.days:,.0f}",
            f"{point.gpus:,}",
            show(point.cap, POWER, 3),
            f"{point.energy / 3.6e12:.4g}",
            show(point.dollars, MONEY, 3),
        )
    return table


def _alternatives(plan: Plan, whole: bool) -> Table | None:
    if not plan.alternatives:
        return None
    columns = (("change", "left"), ("speed", "right"), ("why", "left"))
    table = _titled("What lost, and why (shares of the chosen step)", columns)
    few = plan.alternatives if whole else plan.alternatives[:FEW_ALTERNATIVES]
    for other in sorted(few, key=lambda other: -(other.tokens_per_second or 0.0)):
        speed = words.compared(plan, other.tokens_per_second)
        table.add_row(escape(other.change), speed, escape(other.why))
    return table


def _sensitivities(plan: Plan) -> Table | None:
    if not plan.sensitivities:
        return None
    columns = (("input", "left"), ("change", "left"), ("tokens/day", "right"))
    table = _titled("What inputs are worth", columns)
    for item in plan.sensitivities:
        table.add_row(escape(item.input), escape(item.change), f"{item.tokens:+.1%}")
    return table


def _footnotes(console: Console, plan: Plan, whole: bool) -> None:
    console.print()
    show_assumptions(console, plan.assumptions, "--all shows them", whole)
    if plan.layouts_priced > 1:
        priced = f"{plan.layouts_priced:,} layouts priced, {plan.layouts_feasible:,} fit in memory"
        console.print(priced, style="dim")
