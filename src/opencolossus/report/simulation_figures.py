"""The time lines of power, GPUs and tokens, each from columns of a record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import Figure, Trace
from opencolossus.report.simulation_lines import RIGHT, line
from opencolossus.twin.record import Record

Array = NDArray[np.float64]
CHARGING = 1e5
"""W of charging below which nobody wants a line for it."""
COLOURS = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c7", "--c8", "--c6")


def supply(record: Record) -> Figure:
    """Power by source against what could be carried."""
    traces = [
        line(record, power / 1e6, name, colour, stackgroup=group, width=0.5)
        | {"fillcolor": colour + "/0.65"}
        for name, power, colour, group in stacked(record.prefixed("source"), colours(record))
    ]
    sunny = record.summary["site"]["solar"]
    firm = [power for name, power in record.prefixed("limit").items() if name not in sunny]
    limit = np.sum(firm, axis=0)
    traces.append(line(record, limit / 1e6, "contracted limit", "--soft", dash="dash"))
    traces.append(line(record, record["power.facility"] / 1e6, "demand", "--ink", width=1.2))
    return Figure(
        "supply",
        "Power, MW.",
        traces,
        {"yaxis": {"rangemode": "tozero"}},
        note="What each source delivers, stacked, against what the sources could deliver"
        + (", the sun left out." if sunny else "."),
        height=320,
        timeline=True,
    )


def colours(record: Record) -> dict[str, str]:
    """A colour for each source that ever does anything, the same in all pictures."""
    busy = [name for name, power in record.prefixed("source").items() if np.abs(power).max() > 0]
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(busy)}


def stacked(
    sources: dict[str, Array], palette: dict[str, str]
) -> list[tuple[str, Array, str, str]]:
    """(name, W, colour, stack) of the sources that do anything; charging goes below the axis."""
    parts = []
    for name, power in sources.items():
        colour = palette.get(name, COLOURS[-1])
        if power.max(initial=0.0) > 0:
            parts.append((name, np.maximum(power, 0.0), colour, "sources"))
        if power.min(initial=0.0) < -CHARGING:
            parts.append((f"{name}, charging", np.minimum(power, 0.0), colour, "charging"))
    return parts


def gpus(record: Record) -> Figure:
    """GPUs delivered, powered, working, in repair."""
    names = {
        "delivered": ("--c6", None),
        "powered": ("--c2", None),
        "working": ("--c4", "tozeroy"),
        "repair": ("--c3", None),
    }
    traces = []
    for name, (colour, fill) in names.items():
        trace = line(record, record[f"gpus.{name}"], name, colour, shape="hv")
        if fill:
            trace |= {"fill": fill, "fillcolor": colour + "/0.15"}
        traces.append(trace)
    traces.append(
        line(record, record["cap_w"], "power cap, W", "--c5", dash="dot") | {"yaxis": "y2"}
    )
    layout = {
        "yaxis": {"rangemode": "tozero"},
        "yaxis2": RIGHT,
    }
    return Figure(
        "gpus",
        "GPUs, and the power cap of each in W (right).",
        traces,
        layout,
        height=280,
        timeline=True,
    )


def tokens(record: Record) -> Figure:
    """Tokens against the goal, and when they will be done."""
    total = np.cumsum(record["tokens"]) / 1e12
    goal = record.summary["tokens_goal"] / 1e12
    traces = [
        line(record, total, "tokens, T", "--c4", last=True)
        | {"fill": "tozeroy", "fillcolor": "--c4/0.15"},
        line(record, np.full(total.size, goal), "goal", "--soft", dash="dash"),
    ]
    wait = (record["finish_forecast"] - record.hours.astype("datetime64[s]").astype(float)) / 86400
    traces.append(line(record, wait, "days to go", "--c5", dash="dot", last=True) | {"yaxis": "y2"})
    band = record.prefixed("band")
    if band:
        low, high = np.cumsum(band["low"]) / 1e12, np.cumsum(band["high"]) / 1e12
        traces += _band(record, low, high)
    shapes = []
    deadline = record.summary["deadline"]
    if deadline:
        shapes.append(
            {
                "type": "line",
                "x0": deadline,
                "x1": deadline,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": "--bad", "width": 1.2},
            }
        )
    layout: dict[str, Any] = {
        "yaxis": {"rangemode": "tozero"},
        "yaxis2": RIGHT,
        "shapes": shapes,
    }
    note = "Days to go at the pace of the last week (right)."
    if deadline:
        note += " The red line is the deadline."
    return Figure("tokens", "Tokens, trillions.", traces, layout, note, 280, timeline=True)


def _band(record: Record, low: Array, high: Array) -> list[Trace]:
    upper = line(record, high, "90 % of the runs", "--c4", width=0, last=True)
    lower = line(record, low, "90 % of the runs", "--c4", width=0, last=True)
    lower |= {"fill": "tonexty", "fillcolor": "--c4/0.25", "showlegend": False}
    return [upper, lower]
