"""Heat, water, air and money over time, each from columns of a record."""

from __future__ import annotations

import numpy as np

from opencolossus.report.page import Figure
from opencolossus.report.simulation_lines import RIGHT, line
from opencolossus.twin.record import Record


def temperatures(record: Record) -> Figure:
    """Air, wet bulb, facility water."""
    traces = [
        line(record, record["temperature.dry_bulb"], "air", "--c3", width=1),
        line(record, record["temperature.wet_bulb"], "wet bulb", "--c1", width=1),
        line(record, record["temperature.supply"], "water to cold plates", "--c2"),
    ]
    return Figure("temperatures", "Temperatures, °C.", traces, timeline=True)


def effectiveness(record: Record) -> Figure:
    """PUE and water by day."""
    water = (record["water_m3"] + record["water_recycled_m3"]) * 24
    traces = [
        line(record, record["pue"], "PUE", "--c5"),
        line(record, water, "water, m³ a day", "--c8", width=1) | {"yaxis": "y2"},
    ]
    layout = {
        "yaxis2": RIGHT,
    }
    return Figure("effectiveness", "PUE, and water (right).", traces, layout, timeline=True)


def emissions(record: Record) -> Figure:
    """CO2, and NOx against its permits."""
    carbon = line(record, np.cumsum(record["co2_kg"]) / 1e6, "CO2, kt", "--c6", last=True)
    if not record["nox_kg"].any():
        axis = {"yaxis": {"rangemode": "tozero"}, "showlegend": False}
        return Figure("emissions", "CO2 so far, kt.", [carbon], axis, timeline=True)
    traces = [
        carbon,
        line(record, np.cumsum(record["nox_kg"]) / 1e3, "NOx, t", "--c2", last=True)
        | {"yaxis": "y2"},
    ]
    for name, permit in record.summary["site"]["permits"].items():
        rolling = record[f"permit_nox_kg.{name}"] / 1e3
        traces.append(
            line(record, rolling, f"{name}: NOx of 12 months, t", "--c3", last=True)
            | {"yaxis": "y2"}
        )
        traces.append(
            line(record, np.full(rolling.size, permit / 1e3), f"{name}: permit", "--bad", "dash")
            | {"yaxis": "y2"}
        )
    layout = {
        "yaxis": {"rangemode": "tozero"},
        "yaxis2": RIGHT,
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
        trace = line(record, spent, label, colour, last=True, stackgroup="usd", width=0.5)
        traces.append(trace | {"fillcolor": colour + "/0.6"})
    return Figure("dollars", "Running costs so far, $ million.", traces, timeline=True)
