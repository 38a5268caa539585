"""The plan of the halls: one square per rack, coloured by power or temperature, day by day."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import embed, rounded
from opencolossus.specs.units import POWER, show
from opencolossus.twin.record import Record

Array = NDArray[np.float64]
NOTE = (
    "One square per {unit}, kind after kind in the order in which halls are filled. Power is the "
    "mean of a day, temperature that of the water leaving a {unit} in the day's warmest hour. The "
    "record keeps classes of equal {unit}s, so {unit}s of one kind have one colour."
)
KEYS = (("--c6", "delivered, dark"), ("--empty", "empty place"))
MANY = 12


def note(record: Record) -> str:
    """What the colours mean, and what stands in the squares."""
    plates, unit = record.summary["site"]["nameplates_w"], _unit(record)
    sizes = "; ".join(f"{name} {', '.join(_sizes(watts, unit))}" for name, watts in plates.items())
    return f"{NOTE.format(unit=unit)} At most, by nameplates: {sizes}."


def _sizes(watts: dict[str, float], unit: str) -> list[str]:
    known = {"server": "a server", "rack": "a rack", "array": "an array", "hall": "a full hall"}
    shown = ["rack", "array", "hall"] if unit == "rack" else ["server", "hall"]
    return [f"{show(watts[name], POWER, 3)} {known[name]}" for name in shown]


def _unit(record: Record) -> str:
    """What stands in a square: racks, where any kind of GPU has them."""
    plates = record.summary["site"]["nameplates_w"].values()
    return "rack" if any(watts["rack"] > watts["server"] for watts in plates) else "server"


def plan(record: Record) -> dict[str, Any] | None:
    """Racks delivered and on by kind and day, with power and temperature; nothing without halls."""
    site = record.summary["site"]
    if not site["halls"]:
        return None
    kinds = [_kind(record, name, site["gpus_per_rack"][name]) for name in site["pools"]]
    powered = np.sum([kind["powered"] for kind in kinds], axis=0)
    heat = [value for kind in kinds for value in kind["celsius"] if value is not None]
    return {
        "days": [str(day) for day in record.hours[::24].astype("datetime64[D]")],
        "kinds": kinds,
        "unit": _unit(record),
        "halls": _halls(site),
        "kw": [0.0, max(max(kind["kw"]) for kind in kinds) or 1.0],
        "celsius": [float(record["temperature.supply"].min()), max(heat, default=1.0)],
        "first": int(np.argmax(powered)),
    }


def _kind(record: Record, name: str, gpus: int) -> dict[str, Any]:
    on, there = record[f"pool.{name}"], record.prefixed("delivered")[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # days without a rack that is on
        warmest = np.nanmax(_by_day(record[f"temperature.rack.{name}"]), axis=1)
    return {
        "name": name,
        "powered": np.ceil(_by_day(on).max(axis=1) / gpus).astype(int).tolist(),
        "delivered": np.ceil(_by_day(there).max(axis=1) / gpus).astype(int).tolist(),
        "kw": rounded((_by_day(record[f"power.rack.{name}"]).mean(axis=1) / 1e3).tolist()),
        "celsius": rounded(warmest.tolist()),
    }


def _by_day(values: Array) -> Array:
    return values.reshape(-1, 24)


def _halls(site: dict[str, Any]) -> list[list[list[int]]]:
    """Stretches [kind, first rack, racks] of each hall; kind -1 is room that nobody needs."""
    left = [-(-gpus // site["gpus_per_rack"][name]) for name, gpus in site["pools"].items()]
    sizes, first = list(site["gpus_per_rack"].values()), [0] * len(left)
    halls = []
    for _ in range(site["halls"]):
        room, parts = site["gpus_per_hall"], []
        for kind, size in enumerate(sizes):
            racks = min(left[kind], -(-room // size)) if room > 0 else 0
            if racks:
                parts.append([kind, first[kind], racks])
                left[kind], first[kind] = left[kind] - racks, first[kind] + racks
                room -= racks * size
        if room > 0:
            parts.append([-1, 0, -(-room // sizes[-1])])
        halls.append(parts)
    return halls


def body(found: dict[str, Any]) -> str:
    """Slider, switch, legend and one canvas per hall, as HTML."""
    halls = found["halls"]
    canvases = "".join('<div class="hall"><canvas></canvas><span></span></div>' for _ in halls)
    keys = "".join(
        f'<span class="key"><i style="background:var({colour})"></i>{text}</span>'
        for colour, text in KEYS
    )
    buttons = "".join(
        f'<button type="button" data-colour="{key}" aria-pressed="{pressed}">{text}</button>'
        for key, text, pressed in (("kw", "Power", "true"), ("celsius", "Temperature", "false"))
    )
    return (
        '<div class="card"><div class="slide">'
        f'<input type="range" id="hall-day" min="0" max="{len(found["days"]) - 1}" '
        f'value="{found["first"]}" aria-label="Day"><output id="hall-date"></output>'
        f'<span class="switch" role="group" aria-label="Colour by">{buttons}</span></div>'
        '<div class="slide"><span class="key"><b id="hall-low"></b><i class="scale"></i>'
        f'<b id="hall-high"></b></span>{keys}</div>'
        f'<div class="halls{" many" if len(halls) > MANY else ""}">{canvases}</div></div>'
        f'<script type="application/json" id="hall-data">{embed(found)}</script>'
    )
