"""A plan as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from opencolossus.plan.plan import Plan
from opencolossus.report import plan_figures as figures
from opencolossus.report import plan_words as words
from opencolossus.report.page import Page, Section, escape
from opencolossus.report.times import duration, seconds
from opencolossus.specs.units import COUNT, ENERGY, MONEY, POWER, SIZE, show


def render(plan: Plan) -> str:
    """The page as HTML.

    Raises:
        UserError: plotly is not installed.
    """
    page = Page(
        title=plan.name,
        subtitle=f"{plan.model} on {words.where(plan)}"
        + (f", with what is there on {plan.day}" if plan.day else ""),
        story=words.answer(plan),
        tiles=_tiles(plan),
        sections=[
            *_choices(plan),
            Section("The plan", body=_definition(words.facts(plan))),
            *_kinds(plan),
            Section(f"One step: {seconds(plan.step_time)}", body=_step(plan)),
            Section(words.memory_title(plan), body=_memory(plan)),
            *_sensitivities(plan),
            *_alternatives(plan),
            Section(body=_assumptions(plan)),
        ],
        footer=f"{plan.layouts_priced:,} layouts priced, {plan.layouts_feasible:,} fit in memory. "
        f"Schema version {plan.version}.",
    )
    return page.render()


def _tiles(plan: Plan) -> list[tuple[str, str]]:
    cap = (show(plan.cap, POWER, 3), "power cap of each")
    if len(plan.pools) > 1:
        cap = (str(len(plan.pools)), "kinds of GPU together")
    return [
        (f"{plan.gpus:,}", f"of {plan.available:,} GPUs"),
        cap,
        (duration(plan.days), "for the run"),
        (show(plan.tokens_per_day, COUNT, 3), "tokens a day"),
        (f"{plan.mfu:.1%}", "model FLOP utilisation"),
        (f"{plan.goodput:.1%}", "goodput"),
        (show(plan.energy, ENERGY, 3), "energy"),
        (show(plan.dollars, MONEY, 3), "energy and water"),
    ]


def _definition(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return f'<div class="card wide"><table class="facts">{cells}</table></div>'


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), kind: str = ""
) -> str:
    """A table; columns ``numbers`` are set flush right, ``kind`` is its class."""

    def cells(tag: str, row: Sequence[str]) -> str:
        made = [
            f"<{tag}{' class=number' if place in numbers else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        ]
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(cells("td", row) for row in rows)
    return f'<div class="card wide"><table class="{kind}">{cells("th", head)}{body}</table></div>'


def _bars(key: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Bars of (name, length 0..1 or below 0, text)."""
    lines = "".join(
        f'<div class="bar"><span>{escape(name)}</span>'
        f'<i class="{"minus" if share < 0 else ""}" style="--share:{abs(share):.4f}"></i>'
        f"<b>{escape(text)}</b></div>"
        for name, share, text in rows
    )
    return f'<div class="card bars" id="{key}">{lines}</div>'


def _step(plan: Plan) -> str:
    parts = sorted(plan.step.model_dump().items(), key=lambda item: -item[1])
    longest = max(parts[0][1], 1e-30)
    return _bars(
        "step",
        [
            (
                words.PART_NAMES[name],
                value / longest,
                f"{seconds(value)} · {value / plan.step_time:.1%}",
            )
            for name, value in parts
            if value > 5e-4 * plan.step_time
        ],
    )


def _memory(plan: Plan) -> str:
    parts = [(k, v) for k, v in plan.memory.model_dump().items() if k not in ("total", "limit")]
    limit = plan.memory.limit
    return _bars(
        "memory", [(name, v / limit, f"{show(v, SIZE, 3)} · {v / limit:.1%}") for name, v in parts]
    )


def _choices(plan: Plan) -> list[Section]:
    """GPUs against cap, and the Pareto front."""
    if len(plan.curve) < 2:
        return []
    rows = [
        (
            f"{p.days:,.1f}",
            f"{p.gpus:,}",
            show(p.cap, POWER, 3),
            show(p.energy, ENERGY, 3),
            show(p.dollars, MONEY, 3),
        )
        for p in plan.pareto
    ]
    table = _table(("days", "GPUs", "cap", "energy", "dollars"), rows, range(5))
    note = "Caps of all kinds move together; the axis is the main kind's." * (len(plan.pools) > 1)
    return [
        Section("How many GPUs at what cap", note=note, figures=[figures.speed(plan)]),
        Section(figures=[figures.gpus(plan), figures.energy(plan)], pair=True),
        Section(
            "What nothing beats in days, energy and dollars at once",
            figures=[figures.front(plan)],
            body=table,
        ),
    ]


def _kinds(plan: Plan) -> list[Section]:
    if len(plan.pools) < 2:
        return []
    return [
        Section(
            "Who does what",
            note="All kinds cut the model alike and exchange gradients with each other; each has "
            "its own micro-batches, so that nobody waits.",
            body=_table(words.KIND_HEADS, words.kinds(plan), range(1, len(words.KIND_HEADS))),
        )
    ]


def _alternatives(plan: Plan) -> list[Section]:
    if not plan.alternatives:
        return []
    rows = [
        (
            other.change,
            layout_text(plan, number),
            words.compared(plan, other.tokens_per_second),
            other.why,
        )
        for number, other in sorted(
            enumerate(plan.alternatives), key=lambda pair: -(pair[1].tokens_per_second or 0.0)
        )
    ]
    body = _table(("change", "layout", "speed", "why"), rows, (2,), "others")
    note = "The nearest other layouts. Percentages of a reason are shares of the chosen step."
    return [Section("What lost, and why", note=note, body=body)]


def layout_text(plan: Plan, number: int) -> str:
    """The layout of one alternative in words."""
    other = plan.alternatives[number]
    return words.layout_text(other.layout, other.data_parallel)


def _sensitivities(plan: Plan) -> list[Section]:
    if not plan.sensitivities:
        return []
    most = max(max(abs(item.tokens) for item in plan.sensitivities), 1e-9)
    rows = [
        (f"{item.input}, {item.change}", item.tokens / most, f"{item.tokens:+.1%}")
        for item in plan.sensitivities
    ]
    note = "Change of tokens a day when one input changes and the plan is searched again."
    return [Section("What inputs are worth", note=note, body=_bars("inputs", rows))]


def _assumptions(plan: Plan) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in plan.assumptions)
    count = len(plan.assumptions)
    return (
        f"<details><summary>The plan leans on {count} assumptions that nobody measured</summary>"
        f"<ul>{lines}</ul></details>"
    )
