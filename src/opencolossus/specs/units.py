"""Human quantities at the border, SI floats inside.

``parse("43 MW", POWER)`` is ``43e6``; ``show(43e6, POWER)`` is ``"43 MW"``. The field types that
specs are declared with stand in ``quantities.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
SMALL = {"": 1.0, "m": 1e-3, "µ": 1e-6, "u": 1e-6, "n": 1e-9}
MAGNITUDES = {
    "K": 1e3,
    "M": 1e6,
    "B": 1e9,
    "T": 1e12,
    "k": 1e3,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
}
MINUTE, HOUR, DAY, WEEK, YEAR = 60.0, 3600.0, 86400.0, 7 * 86400.0, 365.25 * 86400.0
SHORT_TON, US_GALLON, BTU = 907.18474, 3.785411784e-3, 1055.05585262  # kg, m³, J
_NUMBER = re.compile(r"[-+]?(?:\d[\d,_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


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


def _scaled(unit: str, prefixes: Mapping[str, float], factor: float = 1.0) -> dict[str, float]:
    return {prefix + unit: scale * factor for prefix, scale in prefixes.items()}


def _per(units: Mapping[str, float], times: Mapping[str, float]) -> dict[str, float]:
    return {f"{u}/{t}": x / y for u, x in units.items() for t, y in times.items()}


_TIME = {
    **_scaled("s", SMALL),
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": MINUTE,
    "minute": MINUTE,
    "minutes": MINUTE,
    "h": HOUR,
    "hour": HOUR,
    "hours": HOUR,
    "d": DAY,
    "day": DAY,
    "days": DAY,
    "week": WEEK,
    "weeks": WEEK,
    "year": YEAR,
    "years": YEAR,
}
_BITS = {u + "b": x / 8 for u, x in DECIMAL.items()} | {
    u + "bit": x / 8 for u, x in {**DECIMAL, **BINARY}.items()
}
_BYTES = _scaled("B", DECIMAL) | _scaled("B", BINARY)
_WATTS = {"mW": 1e-3} | _scaled("W", DECIMAL)
_JOULES = _scaled("J", DECIMAL) | _scaled("Wh", DECIMAL, HOUR)
_MASS = {
    "g": 1e-3,
    "kg": 1.0,
    "t": 1e3,
    "tonne": 1e3,
    "tonnes": 1e3,
    "kt": 1e6,
    "Mt": 1e9,
    "lb": 0.45359237,
}
_MASS |= {"ton": SHORT_TON, "tons": SHORT_TON}
_VOLUME = {"L": 1e-3, "l": 1e-3, "ML": 1e3, "m3": 1.0, "m³": 1.0, "gal": US_GALLON}
_VOLUME |= {"Mgal": 1e6 * US_GALLON}
_MONEY = {
    p + s: f
    for p in ("$", "USD ")
    for s, f in {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}.items()
}

POWER = Dimension("power", "W", "43 MW", _WATTS, ("mW", "W", "kW", "MW", "GW", "TW"))
ENERGY = Dimension("energy", "J", "3.9 MWh", _JOULES, ("J", "Wh", "kWh", "MWh", "GWh", "TWh"))
SIZE = Dimension("size", "B", "80 GB", _BYTES | _BITS, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))
BANDWIDTH = Dimension(
    "bandwidth",
    "B/s",
    "400 Gbit/s",
    _per(_BYTES | _BITS, {"s": 1.0}) | {f"{p}bps": x / 8 for p, x in DECIMAL.items()},
    ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"),
)
DURATION = Dimension(
    "duration", "s", "122 days", _TIME, ("ns", "µs", "ms", "s", "min", "h", "days", "years")
)
FREQUENCY = Dimension(
    "frequency", "Hz", "1980 MHz", _scaled("Hz", DECIMAL), ("Hz", "kHz", "MHz", "GHz")
)
FLOPS = Dimension(
    "compute rate",
    "FLOP/s",
    "989 TFLOP/s",
    _scaled("FLOP/s", DECIMAL) | _scaled("FLOPS", DECIMAL) | _scaled("FLOPs/s", DECIMAL),
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
MONEY = Dimension("money", "$", "$30000", _MONEY, ("$", "$k", "$M", "$B"), bare=True, prefix="$")
PRICE_PER_ENERGY = Dimension(
    "energy price",
    "$/J",
    "$0.078/kWh",
    {f"$/{u}": 1.0 / x for u, x in _JOULES.items()} | {"$/MMBtu": 1.0 / (1e6 * BTU)},
    ("$/kWh",),
    prefix="$",
)
PRICE_PER_TIME = Dimension(
    "hourly price",
    "$/s",
    "$1.42/h",
    {f"$/{u}": 1.0 / x for u, x in _TIME.items()},
    ("$/h",),
    prefix="$",
)
PRICE_PER_VOLUME = Dimension(
    "water price",
    "$/m³",
    "$0.19/100gal",
    {f"$/{u}": 1.0 / x for u, x in _VOLUME.items()} | {"$/100gal": 1.0 / (100 * US_GALLON)},
    ("$/m³",),
    prefix="$",
)
PRICE_PER_POWER = Dimension(
    "demand charge",
    "$/W/s",
    "$16/kW/month",
    {f"$/{u}/month": 12.0 / (x * YEAR) for u, x in _WATTS.items()},
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
MASS = Dimension("mass", "kg", "87 tons", _MASS, ("g", "kg", "t", "kt", "Mt"))
EMISSION = Dimension("emission rate", "kg/J", "365 g/kWh", _per(_MASS, _JOULES), ("g/kWh",))
VOLUME = Dimension("volume", "m³", "3.8 ML", _VOLUME, ("L", "m³", "ML"))
FLOW = Dimension("water flow", "m³/s", "1 Mgal/day", _per(_VOLUME, _TIME), ("L/s", "m³/s"))
WATER_USE = Dimension("water use", "m³/J", "1.05 L/kWh", _per(_VOLUME, _JOULES), ("L/kWh",))
RAMP = Dimension("ramp", "W/s", "5 MW/min", _per(_WATTS, _TIME), ("W/s", "kW/s", "MW/s"))
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
    "rate", "1/s", "6.5e-3 /day", {f"/{u}": 1.0 / x for u, x in _TIME.items()}, ("/s", "/day")
)


class UnitError(ValueError):
    """A text that is not a quantity of the wanted dimension."""


def article(name: str) -> str:
    """The name with "a" or "an" before it."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def parse(text: str, dimension: Dimension) -> float:
    """Read a quantity such as ``"43 MW"`` and return it in SI units.

    Raises:
        UnitError: no number, no unit where one is needed, or a unit of another dimension.
    """
    body, money = _split_money(text.strip(), dimension)
    match = _NUMBER.match(body)
    if match is None or not match.group().strip(",_"):
        raise UnitError(
            f"{text!r} is not {article(dimension.name)}; write it like {dimension.example!r}"
        )
    number = float(match.group().replace(",", "").replace("_", ""))
    unit = money + body[match.end() :].strip()
    if unit == "" and not dimension.bare and number != 0:
        raise UnitError(f"{text!r} has no unit; write it like {dimension.example!r}")
    if unit == "" and "" not in dimension.units:
        return number
    factor = dimension.units.get(unit, dimension.units.get(unit.replace(" ", "")))
    if factor is None:
        raise UnitError(_wrong_unit(text, unit, dimension))
    return number * factor + dimension.offset.get(unit, 0.0)


def _split_money(text: str, dimension: Dimension) -> tuple[str, str]:
    if not dimension.prefix:
        return text, ""
    if text.startswith("$"):
        return text[1:].strip(), "$"
    return text, ""


def _wrong_unit(text: str, unit: str, dimension: Dimension) -> str:
    other = next((d.name for d in DIMENSIONS if unit and unit in d.units), None)
    what = f"{unit!r} is a unit of {other}" if other else f"{unit!r} is not a known unit"
    wanted = article(dimension.name)
    return f"{text!r}: {what}, but this is {wanted}; write it like {dimension.example!r}"


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
