"""Human quantities at the border, SI floats inside.

``show(43e6, POWER)`` is ``"43 MW"``; ``written.parse("43 MW", POWER)`` is ``43e6``. The field types
that specs are declared with stand in ``quantities.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opencolossus.specs.scales import (
    BITS,
    BTU,
    BYTES,
    DECIMAL,
    DOLLARS,
    JOULES,
    MAGNITUDES,
    MASSES,
    TIME,
    US_GALLON,
    VOLUMES,
    WATTS,
    YEAR,
    per,
    scaled,
)


@dataclass(frozen=True, eq=False)
class Dimension:
    """One kind of quantity: how it is written, and its SI factor by unit."""

    name: str
    si: str
    example: str
    units: Mapping[str, float]
    shown: tuple[str, ...]
    bare: bool = False
    """Whether a number without a unit is clear enough in a file (counts, dollars, ratios)."""
    prefix: str = ""
    offset: Mapping[str, float] = field(default_factory=dict)


POWER = Dimension("power", "W", "43 MW", WATTS, ("mW", "W", "kW", "MW", "GW", "TW"))
ENERGY = Dimension("energy", "J", "3.9 MWh", JOULES, ("J", "Wh", "kWh", "MWh", "GWh", "TWh"))
SIZE = Dimension("size", "B", "80 GB", BYTES | BITS, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))
BANDWIDTH = Dimension(
    "bandwidth",
    "B/s",
    "400 Gbit/s",
    per(BYTES | BITS, {"s": 1.0}) | {f"{p}bps": x / 8 for p, x in DECIMAL.items()},
    ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"),
)
DURATION = Dimension(
    "duration", "s", "122 days", TIME, ("ns", "µs", "ms", "s", "min", "h", "days", "years")
)
FREQUENCY = Dimension(
    "frequency", "Hz", "1980 MHz", scaled("Hz", DECIMAL), ("Hz", "kHz", "MHz", "GHz")
)
FLOPS = Dimension(
    "compute rate",
    "FLOP/s",
    "989 TFLOP/s",
    scaled("FLOP/s", DECIMAL) | scaled("FLOPS", DECIMAL) | scaled("FLOPs/s", DECIMAL),
    ("FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s", "EFLOP/s"),
)
COUNT = Dimension(
    "count",
    "",
    "6T tokens",
    {
        f"{m}{s}": x
        for m, x in {"": 1.0, **MAGNITUDES}.items()
        for s in ("", "tokens", " tokens", " token")
    }
    | {"token": 1.0},
    ("", "K", "M", "B", "T"),
    bare=True,
)
MONEY = Dimension("money", "$", "$30000", DOLLARS, ("$", "$k", "$M", "$B"), bare=True, prefix="$")
PRICE_PER_ENERGY = Dimension(
    "energy price",
    "$/J",
    "$0.078/kWh",
    {f"$/{u}": 1.0 / x for u, x in JOULES.items()} | {"$/MMBtu": 1.0 / (1e6 * BTU)},
    ("$/kWh",),
    prefix="$",
)
PRICE_PER_TIME = Dimension(
    "hourly price",
    "$/s",
    "$1.42/h",
    {f"$/{u}": 1.0 / x for u, x in TIME.items()},
    ("$/h",),
    prefix="$",
)
PRICE_PER_VOLUME = Dimension(
    "water price",
    "$/m³",
    "$0.19/100gal",
    {f"$/{u}": 1.0 / x for u, x in VOLUMES.items()} | {"$/100gal": 1.0 / (100 * US_GALLON)},
    ("$/m³",),
    prefix="$",
)
PRICE_PER_POWER = Dimension(
    "demand charge",
    "$/W/s",
    "$16/kW/month",
    {f"$/{u}/month": 12.0 / (x * YEAR) for u, x in WATTS.items()},
    ("$/kW/month",),
    prefix="$",
)
FRACTION = Dimension(
    "fraction", "", "15 %", {"": 1.0, "%": 0.01, "percent": 0.01}, ("",), bare=True
)
TEMPERATURE = Dimension(
    "temperature",
    "°C",
    "25 °C",
    {"°C": 1.0, "C": 1.0, "K": 1.0, "°F": 5 / 9, "F": 5 / 9},
    ("°C",),
    offset={"K": -273.15, "°F": -160 / 9, "F": -160 / 9},
)
MASS = Dimension("mass", "kg", "87 tons", MASSES, ("g", "kg", "t", "kt", "Mt"))
EMISSION = Dimension("emission rate", "kg/J", "365 g/kWh", per(MASSES, JOULES), ("g/kWh",))
VOLUME = Dimension("volume", "m³", "3.8 ML", VOLUMES, ("L", "m³", "ML"))
FLOW = Dimension("water flow", "m³/s", "1 Mgal/day", per(VOLUMES, TIME), ("L/s", "m³/s"))
WATER_USE = Dimension("water use", "m³/J", "1.05 L/kWh", per(VOLUMES, JOULES), ("L/kWh",))
RAMP = Dimension("ramp", "W/s", "5 MW/min", per(WATTS, TIME), ("W/s", "kW/s", "MW/s"))
HEAT_RATE = Dimension(
    "heat rate",
    "J/J",
    "9500 Btu/kWh",
    {"": 1.0, "Btu/kWh": BTU / 3.6e6, "kJ/kWh": 1e3 / 3.6e6, "MJ/kWh": 1e6 / 3.6e6},
    ("",),
    bare=True,
)
LENGTH = Dimension(
    "length",
    "m",
    "50 m",
    {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3, "ft": 0.3048},
    ("mm", "m", "km"),
)
AREA = Dimension(
    "area",
    "m²",
    "785000 sqft",
    {"m2": 1.0, "m²": 1.0, "sqft": 0.09290304, "sq ft": 0.09290304},
    ("m²",),
)

RATE = Dimension(
    "rate", "1/s", "6.5e-3 /day", {f"/{u}": 1.0 / x for u, x in TIME.items()}, ("/s", "/day")
)


def show(value: float, dimension: Dimension, digits: int = 12) -> str:
    """Write an SI value for a person, with the largest unit that keeps the number at 1 or more."""
    best = dimension.shown[0]
    for unit in dimension.shown:
        if abs(value) >= dimension.units.get(unit, 1.0) * (1 - 1e-12):
            best = unit
    number = f"{value / dimension.units.get(best, 1.0):.{digits}g}"
    if dimension.prefix:
        return f"${number}{best.removeprefix('$')}"
    return f"{number} {best}".strip() if dimension is not COUNT else f"{number}{best}"


DIMENSIONS = tuple(d for d in list(globals().values()) if isinstance(d, Dimension))
