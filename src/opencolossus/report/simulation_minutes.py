"""The minutes around the event that moved the sources most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import Figure, Trace, rounded
from opencolossus.report.simulation_figures import colours, stacked
from opencolossus.twin.record import Record

Array = NDArray[np.float64]
BEFORE, AFTER = 20, 60
"""Minutes that are shown."""
SUDDEN = ("outage", "order", "supply", "plan")
"""Kinds of events, the first that happened is shown."""


def event_of(record: Record) -> tuple[np.datetime64, str] | None:
    """The most sudden event whose minutes were played, with its words."""
    if not record.moments or not record.moments["time"].size:
        return None
    minutes = record.moments["time"]
    run = np.flatnonzero(record["gpus.job"] > 0)
    for kind in SUDDEN:
        for event in record.events:
            place = int(np.searchsorted(minutes, event.time))
            inside = place < minutes.size and minutes[place] - event.time < np.timedelta64(1, "m")
            if event.kind == kind and inside and run.size and event.time > record.hours[run[0]]:
                return event.time, event.text
    return None


def minutes(record: Record) -> Figure | None:
    """Power by source, minute by minute; nothing where no source needs time to follow."""
    found = event_of(record)
    if found is None:
        return None
    moment, text = found
    time = record.moments["time"]
    shown = (time >= moment - np.timedelta64(BEFORE, "m")) & (
        time < moment + np.timedelta64(AFTER, "m")
    )
    at = ((time[shown] - moment).astype(float) / 60).tolist()
    sources = {n[7:]: v[shown] for n, v in record.moments.items() if n.startswith("source.")}
    traces = [
        _line(at, power / 1e6, name, colour) | {"stackgroup": group, "fillcolor": colour + "/0.65"}
        for name, power, colour, group in stacked(sources, colours(record))
    ]
    traces.append(_line(at, record.moments["power.limit"][shown] / 1e6, "can be carried", "--soft"))
    traces[-1]["line"]["dash"] = "dash"
    layout = {
        "yaxis": {"rangemode": "tozero"},
        "xaxis": {"ticksuffix": " min", "zeroline": True},
    }
    note = f"Around {str(moment.astype('datetime64[m]')).replace('T', ' ')}: {text}."
    return Figure("minutes", "Power by source, minute by minute, MW.", traces, layout, note, 280)


def _line(time: list[float], values: Array, name: str, colour: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": time,
        "y": rounded(values.tolist()),
        "name": name,
        "line": {"color": colour, "width": 1.2, "shape": "hv"},
    }
