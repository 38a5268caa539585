"""A small picture of a simulation for a document: power by source, and tokens, as SVG."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import escape
from opencolossus.report.simulation_figures import colours, stacked
from opencolossus.twin.record import Record

Array = NDArray[np.float64]
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 230, 44, 34, 24
POINTS = 240
COLOURS = {
    "--c1": "#3469a8",
    "--c2": "#d08a2c",
    "--c3": "#b5503c",
    "--c4": "#3c8f76",
    "--c5": "#7a5ca8",
    "--c6": "#8a8f98",
    "--c7": "#c2a83e",
    "--c8": "#4aa3c7",
}
INK, SOFT, PAPER = "#1c1e21", "#5d6470", "#fbfaf7"


def sketch(record: Record) -> str:
    """Power by source in MW against what could be carried, with the tokens so far as a line."""
    parts = [
        part for part in stacked(record.prefixed("source"), colours(record)) if part[3] == "sources"
    ]
    limit = np.sum(list(record.prefixed("limit").values()), axis=0) / 1e6
    top = _round_up(float(max(limit.max(), record["power.facility"].max() / 1e6)))
    base = np.zeros(_thin(limit).size)
    drawn, legend = [], []
    for name, power, colour, _ in parts:
        above = base + _thin(power) / 1e6
        drawn.append(
            f'<path d="{_area(base, above, top)}" fill="{COLOURS[colour]}" opacity=".75"/>'
        )
        legend.append((name, COLOURS[colour]))
        base = above
    drawn.append(_line(_thin(limit), top, SOFT, ' stroke-dasharray="5 4"'))
    done = np.cumsum(record["tokens"]) / record.summary["tokens_goal"]
    drawn.append(_line(_thin(done) * top, top, INK, ""))
    legend += [("could be carried (dashed)", SOFT), ("tokens, share of the goal (line)", INK)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="11" role="img">',
            f"<title>{escape(record.name)}: power by source</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            *_axes(record, top),
            *drawn,
            *_legend(legend),
            "</svg>\n",
        ]
    )


def _thin(values: Array) -> Array:
    """The mean of each of at most ``POINTS`` stretches."""
    edges = np.linspace(0, values.size, min(POINTS, values.size) + 1).astype(int)
    return np.asarray(np.add.reduceat(values, edges[:-1]) / np.diff(edges))


def _round_up(value: float) -> float:
    step = 10 ** math.floor(math.log10(max(value, 1e-6)))
    return float(step * next(k for k in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if k * step >= value))


def _x(count: int) -> Array:
    return LEFT + (np.arange(count) + 0.5) / count * (WIDTH - LEFT - 8)


def _y(values: Array, top: float) -> Array:
    return np.asarray(HEIGHT - BOTTOM - values / top * (HEIGHT - BOTTOM - TOP))


def _points(values: Array, top: float) -> list[str]:
    return [f"{x:.0f} {y:.0f}" for x, y in zip(_x(values.size), _y(values, top), strict=True)]


def _area(low: Array, high: Array, top: float) -> str:
    return "M" + "L".join(_points(high, top) + _points(low, top)[::-1]) + "Z"


def _line(values: Array, top: float, colour: str, more: str) -> str:
    path = "M" + "L".join(_points(values, top))
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{more}/>'


def _axes(record: Record, top: float) -> list[str]:
    marks = []
    for value in (0.0, top / 2, top):
        y = float(_y(np.array([value]), top)[0])
        marks.append(f'<path d="M{LEFT} {y:.0f}H{WIDTH - 8}" stroke="#e3e1db"/>')
        marks.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end" fill="{SOFT}">{value:g}</text>'
        )
    first, last = (str(record.hours[i].astype("datetime64[D]")) for i in (0, -1))
    y = HEIGHT - 8
    return [
        *marks,
        f'<text x="{LEFT}" y="{y}" fill="{SOFT}">{first}</text>',
        f'<text x="{WIDTH - 8}" y="{y}" text-anchor="end" fill="{SOFT}">{last}</text>',
        f'<text x="8" y="16" fill="{SOFT}">MW</text>',
    ]


def _legend(entries: list[tuple[str, str]]) -> list[str]:
    """Names in their colours, in one row."""
    text = "".join(
        f'<tspan fill="{colour}" font-weight="600"> ■ </tspan><tspan fill="{INK}">{escape(name)}'
        f" </tspan>"
        for name, colour in entries
    )
    return [f'<text x="{LEFT}" y="16" font-size="10">{text}</text>']
