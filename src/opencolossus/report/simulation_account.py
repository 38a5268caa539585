"""Where a simulation's time went, and the rhythm of its steps."""

from __future__ import annotations

from opencolossus.report.page import Figure, Trace, rounded
from opencolossus.report.simulation_story import LOSSES
from opencolossus.twin.record import Record

POINTS = 1000
"""Of the millisecond trace that a picture shows; the record holds all."""


def waterfall(record: Record) -> Figure:
    """From all of the job's time to what counts."""
    loss = record.summary["loss"]
    shown = sorted(((n, v) for n, v in loss.items() if v >= 5e-5), key=lambda item: -item[1])
    labels = ["time of the job", *(LOSSES[name] for name, _ in shown), "what counts"]
    values = [100.0, *(-100 * share for _, share in shown), 0.0]
    measure = ["absolute", *("relative" for _ in shown), "total"]
    left = 100 * (1 - sum(share for _, share in shown))
    text = ["100 %", *(f"−{100 * share:.2f} %" for _, share in shown), f"{left:.1f} %"]
    trace = {
        "type": "waterfall",
        "orientation": "h",
        "y": labels,
        "x": rounded(values),
        "measure": measure,
        "text": text,
        "textposition": ["inside", *("outside" for _ in shown), "inside"],
        "insidetextanchor": "end",
        "cliponaxis": False,
        "connector": {"line": {"color": "--line", "width": 1}},
        "decreasing": {"marker": {"color": "--c3"}},
        "totals": {"marker": {"color": "--c4"}},
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }
    # Below nothing there is only room for the numbers beside the bars.
    low = max(-16.0, min(left, 100.0) - 1.5 * (100 - left) - 1)
    axis: dict[str, object] = {"range": [low, 100 + 0.04 * (100 - low)], "ticksuffix": " %"}
    layout = {
        "xaxis": axis | ({"tickvals": [0, 20, 40, 60, 80, 100]} if low < 0 else {}),
        "yaxis": {"autorange": "reversed"},
        "showlegend": False,
    }
    title = "Share of the job's time, from its start to its end."
    return Figure("waterfall", title, [trace], layout, height=120 + 26 * len(labels))


def rhythm(record: Record) -> Figure | None:
    """Power within a few steps and at a stop, in milliseconds."""
    if not record.rhythm:
        return None
    stride = -(-record.rhythm["time"].size // POINTS)
    trace: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(record.rhythm["time"][::stride].tolist()),
        "y": rounded((record.rhythm["power"][::stride] / 1e6).tolist()),
        "line": {"color": "--c1", "width": 1.4, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": "--c1/0.12",
        "name": "IT power, MW",
    }
    layout = {
        "yaxis": {"rangemode": "tozero"},
        "xaxis": {"ticksuffix": " s"},
        "showlegend": False,
    }
    return Figure("rhythm", "IT power over a few steps and a stop, MW.", [trace], layout)
