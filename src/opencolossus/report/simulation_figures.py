"""The time lines of a simulation, each from columns of its record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import Figure, Trace, rounded
from opencolossus.twin.record import Record

Array = NDArray[np.float64]
POINTS = 800
"""Points per line; a longer record is averaged over stretches of equal length."""
CHARGING = 1e5
"""W of charging below which nobody wants a line for it."""
COLOURS = ("--c1", "--c2", "--c3", "--c4", "--c5", "--c7", "--c8", "--c6")


def supply(record: Record) -> Figure:
    """Power by source against what could be carried."""
    traces = [
        _line(record, power / 1e6, name, colour, stackgroup=group, width=0.5)
        | {"fillcolor": colour + "/0.65"}
        for name, power, colour, group in stacked(record.prefixed("source"), colours(record))
    ]
    sunny = record.summary["site"]["solar"]
    firm = [power for name, power in record.prefixed("limit").items() if name not in sunny]
    limit = np.sum(firm, axis=0)
    traces.append(_line(record, limit / 1e6, "contracted limit", "--soft", dash="dash"))
    traces.append(_line(record, record["power.facility"] / 1e6, "demand", "--ink", width=1.2))
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
        trace = _line(record, record[f"gpus.{name}"], name, colour, shape="hv")
        if fill:
            trace |= {"fill": fill, "fillcolor": colour + "/0.15"}
        traces.append(trace)
    traces.append(
        _line(record, record["cap_w"], "power cap, W", "--c5", dash="dot") | {"yaxis": "y2"}
    )
    layout = {
        "yaxis": {"rangemode": "tozero"},
        "yaxis2": {
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "tickmode": "auto",
        },
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
        _line(record, total, "tokens, T", "--c4", last=True)
        | {"fill": "tozeroy", "fillcolor": "--c4/0.15"},
        _line(record, np.full(total.size, goal), "goal", "--soft", dash="dash"),
    ]
    wait = (record["finish_forecast"] - record.hours.astype("datetime64[s]").astype(float)) / 86400
    traces.append(
        _line(record, wait, "days to go", "--c5", dash="dot", last=True) | {"yaxis": "y2"}
    )
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
        "yaxis2": {
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "tickmode": "auto",
        },
        "shapes": shapes,
    }
    note = "Days to go at the pace of the last week (right)."
    if deadline:
        note += " The red line is the deadline."
    return Figure("tokens", "Tokens, trillions.", traces, layout, note, 280, timeline=True)


def _band(record: Record, low: Array, high: Array) -> list[Trace]:
    upper = _line(record, high, "90 % of the runs", "--c4", width=0, last=True)
    lower = _line(record, low, "90 % of the runs", "--c4", width=0, last=True)
    lower |= {"fill": "tonexty", "fillcolor": "--c4/0.25", "showlegend": False}
    return [upper, lower]


def temperatures(record: Record) -> Figure:
    """Air, wet bulb, facility water."""
    traces = [
        _line(record, record["temperature.dry_bulb"], "air", "--c3", width=1),
        _line(record, record["temperature.wet_bulb"], "wet bulb", "--c1", width=1),
        _line(record, record["temperature.supply"], "water to cold plates", "--c2"),
    ]
    return Figure("temperatures", "Temperatures, °C.", traces, timeline=True)


def effectiveness(record: Record) -> Figure:
    """PUE and water by day."""
    water = (record["water_m3"] + record["water_recycled_m3"]) * 24
    traces = [
        _line(record, record["pue"], "PUE", "--c5"),
        _line(record, water, "water, m³ a day", "--c8", width=1) | {"yaxis": "y2"},
    ]
    layout = {
        "yaxis2": {
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "tickmode": "auto",
        }
    }
    return Figure("effectiveness", "PUE, and water (right).", traces, layout, timeline=True)


def emissions(record: Record) -> Figure:
    """CO2, and NOx against its permits."""
    carbon = _line(record, np.cumsum(record["co2_kg"]) / 1e6, "CO2, kt", "--c6", last=True)
    if not record["nox_kg"].any():
        axis = {"yaxis": {"rangemode": "tozero"}, "showlegend": False}
        return Figure("emissions", "CO2 so far, kt.", [carbon], axis, timeline=True)
    traces = [
        carbon,
        _line(record, np.cumsum(record["nox_kg"]) / 1e3, "NOx, t", "--c2", last=True)
        | {"yaxis": "y2"},
    ]
    for name, permit in record.summary["site"]["permits"].items():
        rolling = record[f"permit_nox_kg.{name}"] / 1e3
        traces.append(
            _line(record, rolling, f"{name}: NOx of 12 months, t", "--c3", last=True)
            | {"yaxis": "y2"}
        )
        traces.append(
            _line(record, np.full(rolling.size, permit / 1e3), f"{name}: permit", "--bad", "dash")
            | {"yaxis": "y2"}
        )
    layout = {
        "yaxis": {"rangemode": "tozero"},
        "yaxis2": {
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "tickmode": "auto",
        },
    }
    return Figure("emissions", "CO2 so far, kt, and NOx, t (right).", traces, layout, timeline=True)


def dollars(record: Record) -> Figure:
    """Running costs so far."""
    names = {
        "energy": ("energy", "--c2"),
        "demand": ("demand charge", "--c1"),
        "rent": ("rented generators", "--c5"),
        "maintenance": ("maintenance", "--c3"),
        "water": ("water", "--c8"),
        "gpus": ("rented GPUs", "--c4"),
    }
    traces = []
    for name, (label, colour) in names.items():
        spent = np.cumsum(record[f"usd.{name}"]) / 1e6
        if spent[-1] <= 0:
            continue
        trace = _line(record, spent, label, colour, last=True, stackgroup="usd", width=0.5)
        traces.append(trace | {"fillcolor": colour + "/0.6"})
    return Figure("dollars", "Running costs so far, $ million.", traces, timeline=True)


def _line(
    record: Record,
    values: Array,
    name: str,
    colour: str,
    dash: str = "solid",
    width: float = 1.6,
    shape: str = "linear",
    last: bool = False,
    stackgroup: str | None = None,
) -> Trace:
    """A line over time; ``last`` takes the end of each stretch (sums) instead of its mean."""
    times, short = thin(record.hours, values, last)
    trace: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [str(t) for t in times],
        "y": rounded(short.tolist()),
        "name": name,
        "line": {"color": colour, "width": width, "dash": dash, "shape": shape},
    }
    if stackgroup:
        trace["stackgroup"] = stackgroup
    return trace


def thin(hours: NDArray[np.datetime64], values: Array, last: bool) -> tuple[Any, Array]:
    """Average (or take the last of) stretches so that at most ``POINTS`` remain."""
    stride = -(-hours.size // POINTS)
    whole = hours.size // stride * stride
    blocks = values[:whole].reshape(-1, stride)
    short = blocks[:, -1] if last else blocks.mean(axis=1)
    if whole < values.size:
        tail = values[-1:] if last else values[whole:].mean(keepdims=True)
        short = np.concatenate([short, tail])
    return hours[::stride], short
