"""The plots of a plan: GPUs against cap, energy, and what cannot be beaten."""

from __future__ import annotations

from typing import Any

from opencolossus.plan.plan import CapPoint, Plan
from opencolossus.report.page import Figure, Trace, rounded
from opencolossus.specs.units import MONEY, POWER, show

TERA = 1e12
GWH = 3.6e12


def _hover(points: tuple[CapPoint, ...]) -> list[str]:
    return [
        f"{p.gpus:,} GPUs at {show(p.cap, POWER, 3)}: {p.tokens_per_day / TERA:.3g} T tokens a "
        f"day, {p.energy_per_token:.3g} J a token, {p.days:,.0f} days, {show(p.dollars, MONEY, 3)}"
        for p in points
    ]


def _line(xs: list[Any], ys: list[Any], text: list[str], colour: str, name: str) -> Trace:
    return {
        "x": xs,
        "y": ys,
        "text": text,
        "name": name,
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2},
        "marker": {"size": 5},
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
    }


def _chosen(x: float, y: float) -> Trace:
    return {
        "x": [x],
        "y": [y],
        "mode": "markers",
        "name": "chosen",
        "marker": {"size": 13, "color": "rgba(0,0,0,0)", "line": {"color": "--accent", "width": 3}},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def speed(plan: Plan) -> Figure:
    """Tokens a day against the power cap, with the 90 % interval and the GPUs that run."""
    points = plan.curve
    caps = rounded([p.cap for p in points])
    tokens = [p.tokens_per_day / TERA for p in points]
    fast, slow = plan.step_time / plan.interval.low, plan.step_time / plan.interval.high
    band = {
        "x": [*caps, *caps[::-1]],
        "y": rounded([t * fast for t in tokens] + [t * slow for t in tokens[::-1]]),
        "fill": "toself",
        "fillcolor": "--c1/0.13",
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
    }
    chosen = _chosen(plan.cap, plan.tokens_per_day / TERA)
    return Figure(
        key="caps",
        title="10¹² tokens a day against power cap, W",
        note="Ring: chosen. Band: where 90 of 100 such predictions fall.",
        data=[band, _line(caps, rounded(tokens), _hover(points), "--c1", "tokens"), chosen],
        layout={"yaxis": {"rangemode": "tozero"}},
    )


def gpus(plan: Plan) -> Figure:
    """GPUs at work against the power cap."""
    points = plan.curve
    caps, counts = rounded([p.cap for p in points]), [p.gpus for p in points]
    return Figure(
        key="gpus",
        title="GPUs at work against power cap, W",
        data=[
            _line(caps, counts, _hover(points), "--c4", "GPUs"),
            _chosen(plan.cap, float(plan.gpus)),
        ],
        layout={"yaxis": {"rangemode": "tozero"}},
    )


def energy(plan: Plan) -> Figure:
    """Energy of the whole site per token against the power cap."""
    points = plan.curve
    mine = plan.power.facility / (plan.tokens_per_second * plan.goodput)
    caps = rounded([p.cap for p in points])
    joules = rounded([p.energy_per_token for p in points])
    return Figure(
        key="energy",
        title="J a token, the whole site, against power cap, W",
        data=[_line(caps, joules, _hover(points), "--c2", "energy"), _chosen(plan.cap, mine)],
        layout={"yaxis": {"rangemode": "tozero"}},
    )


def front(plan: Plan) -> Figure:
    """Days against energy: what was tried, and what nothing beats."""
    best, points = plan.pareto, plan.curve
    tried = {
        "x": rounded([p.days for p in points]),
        "y": rounded([p.energy_per_token * p.tokens_per_day * p.days / GWH for p in points]),
        "text": _hover(points),
        "mode": "markers",
        "name": "all GPUs, every cap",
        "marker": {"color": "--c6", "size": 6},
        "hovertemplate": "%{text}<extra></extra>",
    }
    unbeaten = {
        "x": rounded([p.days for p in best]),
        "y": rounded([p.energy / GWH for p in best]),
        "text": [
            f"{p.gpus:,} GPUs at {show(p.cap, POWER, 3)}: {p.days:,.0f} days, "
            f"{p.energy / GWH:,.4g} GWh, {show(p.dollars, MONEY, 3)}"
            for p in best
        ],
        "mode": "lines+markers",
        "name": "nothing beats these",
        "line": {"color": "--c3", "shape": "hv"},
        "marker": {"size": 8},
        "hovertemplate": "%{text}<extra></extra>",
    }
    return Figure(
        key="front",
        title="GWh of the whole run against its days",
        data=[tried, unbeaten],
        height=300,
    )
