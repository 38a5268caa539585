"""Lines over time, as all pictures of a simulation draw them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import Trace, rounded
from opencolossus.twin.record import Record

Array = NDArray[np.float64]
POINTS = 800
"""Points per line; a longer record is averaged over stretches of equal length."""
RIGHT: dict[str, Any] = {
    "overlaying": "y",
    "side": "right",
    "rangemode": "tozero",
    "showgrid": False,
    "tickmode": "auto",
}
"""A second axis."""


def line(
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
