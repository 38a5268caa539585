"""A plan as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from opencolossus.plan.plan import Plan
from opencolossus.report.page import Figure, Page, Section, escape, rounded
from opencolossus.report.plan_table import (
    PART_NAMES,
    answer,
    duration,
    facts,
    layout_text,
    seconds,
)
from opencolossus.specs.units import COUNT, ENERGY, MONEY, POWER, SIZE, show


def render(plan: Plan) -> str:
    """The page as HTML.

    Raises:
        UserError: plotly is not installed.
    """
    page = Page(
        title=plan.name,
        subtitle=f"{plan.model} on {plan.cluster}"
        + (f", with what is there on {plan.day}" if plan.day else ""),
        story=[_plain(line) for line in answer(plan)],
        tiles=_tiles(plan),
        sections=[
            Section("The plan", body=_definition(facts(plan))),
            Section(
                "One step, and the memory of one GPU",
                figures=[_step(plan), _memory(plan)],
                pair=True,
            ),
            *_choices(plan),
            *_alternatives(plan),
            *_sensitivities(plan),
            Section("What the plan leans on", body=_list(plan.assumptions)),
        ],
        footer=f"{plan.layouts_priced:,} layouts priced, {plan.layouts_feasible:,} fit in memory. "
        f"Schema version {plan.version}.",
    )
    return page.render()


def _plain(text: str) -> str:
    """Text without terminal markup."""
    for tag in ("[bold]", "[/]", "[green]", "[red]"):
        text = text.replace(tag, "")
    return text


def _tiles(plan: Plan) -> list[tuple[str, str]]:
    return [
        (f"{plan.gpus:,}", f"GPUs of {plan.available:,}"),
        (show(plan.cap, POWER, 3), "power cap of each"),
        (duration(plan.days), "for the run"),
        (show(plan.tokens_per_day, COUNT, 3), "tokens a day"),
        (f"{plan.mfu:.1%}", "model FLOP utilisation"),
        (show(plan.energy, ENERGY, 3), "energy"),
        (show(plan.dollars, MONEY, 3), "energy and water"),
        (f"{plan.goodput:.1%}", "goodput"),
    ]


def _definition(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{cells}</table>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _bars(key: str, title: str, names: Sequence[str], values: Sequence[float], unit: str) -> Figure:
    return Figure(
        key=key,
        title=title,
        data=[
            {
                "type": "bar",
                "orientation": "h",
                "y": list(reversed(names)),
                "x": list(reversed(rounded(values))),
                "marker": {"color": "--c1"},
                "hovertemplate": "%{y}: %{x}" + unit + "<extra></extra>",
            }
        ],
        layout={"xaxis": {"title": {"text": unit.strip()}}, "margin": {"l": 190}},
        height=60 + 26 * len(names),
    )


def _step(plan: Plan) -> Figure:
    parts = sorted(plan.step.model_dump().items(), key=lambda item: -item[1])
    shown = [(PART_NAMES[name], value) for name, value in parts if value > 5e-4 * plan.step_time]
    names, values = [n for n, _ in shown], [v * 1e3 for _, v in shown]
    return _bars("step", f"One step: {seconds(plan.step_time)}", names, values, " ms")


def _memory(plan: Plan) -> Figure:
    parts = [(k, v) for k, v in plan.memory.model_dump().items() if k not in ("total", "limit")]
    title = f"Memory: {show(plan.memory.total, SIZE, 3)} of {show(plan.memory.limit, SIZE, 3)}"
    return _bars("memory", title, [k for k, _ in parts], [v / 1e9 for _, v in parts], " GB")


def _choices(plan: Plan) -> list[Section]:
    """GPUs against cap, and the Pareto front."""
    if len(plan.curve) < 2:
        return []
    caps = rounded([p.cap for p in plan.curve])
    text = [f"{p.gpus:,} GPUs" for p in plan.curve]
    curve = Figure(
        key="caps",
        title="Tokens a day against power cap",
        data=[
            {
                "x": caps,
                "y": rounded([p.tokens_per_day / 1e9 for p in plan.curve]),
                "text": text,
                "mode": "lines+markers",
                "line": {"color": "--c1"},
                "hovertemplate": "%{x} W: %{y} billion tokens a day, %{text}<extra></extra>",
            }
        ],
        layout={
            "xaxis": {"title": {"text": "cap, W"}},
            "yaxis": {"title": {"text": "10⁹ tokens/day"}},
        },
    )
    energy = Figure(
        key="energy",
        title="Energy of the site per token",
        data=[
            {
                "x": caps,
                "y": rounded([p.energy_per_token for p in plan.curve]),
                "text": text,
                "mode": "lines+markers",
                "line": {"color": "--c2"},
                "hovertemplate": "%{x} W: %{y} J a token, %{text}<extra></extra>",
            }
        ],
        layout={"xaxis": {"title": {"text": "cap, W"}}, "yaxis": {"title": {"text": "J/token"}}},
    )
    front = _table(
        ("days", "GPUs", "cap", "energy", "dollars"),
        [
            (
                f"{p.days:,.1f}",
                f"{p.gpus:,}",
                show(p.cap, POWER, 3),
                show(p.energy, ENERGY, 3),
                show(p.dollars, MONEY, 3),
            )
            for p in plan.pareto
        ],
    )
    return [
        Section("How many GPUs at what cap", figures=[curve, energy], pair=True),
        Section("What cannot be beaten in days, energy and dollars at once", body=front),
    ]


def _alternatives(plan: Plan) -> list[Section]:
    if not plan.alternatives:
        return []
    rows = [
        (
            other.change,
            layout_text(other.layout, other.data_parallel),
            "-"
            if other.tokens_per_second is None
            else f"{other.tokens_per_second / plan.tokens_per_second - 1:+.1%}",
            other.why,
        )
        for other in plan.alternatives
    ]
    return [Section("What lost, and why", body=_table(("change", "layout", "speed", "why"), rows))]


def _sensitivities(plan: Plan) -> list[Section]:
    if not plan.sensitivities:
        return []
    items = plan.sensitivities
    names = [f"{item.input}, {item.change}" for item in items]
    figure = _bars("inputs", "Change of tokens a day", names, [100 * i.tokens for i in items], " %")
    return [Section("What inputs are worth", figures=[figure])]
