"""Units that people write, and what one of each is in SI units."""

from __future__ import annotations

from collections.abc import Mapping

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


def scaled(unit: str, prefixes: Mapping[str, float], factor: float = 1.0) -> dict[str, float]:
    """A unit with each of its prefixes."""
    return {prefix + unit: scale * factor for prefix, scale in prefixes.items()}


def per(units: Mapping[str, float], times: Mapping[str, float]) -> dict[str, float]:
    """Every unit per every other: W per s, kW per h."""
    return {f"{u}/{t}": x / y for u, x in units.items() for t, y in times.items()}


TIME = {
    **scaled("s", SMALL),
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
BITS = {u + "b": x / 8 for u, x in DECIMAL.items()} | {
    u + "bit": x / 8 for u, x in {**DECIMAL, **BINARY}.items()
}
BYTES = scaled("B", DECIMAL) | scaled("B", BINARY)
WATTS = {"mW": 1e-3} | scaled("W", DECIMAL)
JOULES = scaled("J", DECIMAL) | scaled("Wh", DECIMAL, HOUR)
MASSES = {
    "g": 1e-3,
    "kg": 1.0,
    "t": 1e3,
    "tonne": 1e3,
    "tonnes": 1e3,
    "kt": 1e6,
    "Mt": 1e9,
    "lb": 0.45359237,
}
MASSES |= {"ton": SHORT_TON, "tons": SHORT_TON}
VOLUMES = {"L": 1e-3, "l": 1e-3, "ML": 1e3, "m3": 1.0, "m³": 1.0, "gal": US_GALLON}
VOLUMES |= {"Mgal": 1e6 * US_GALLON}
DOLLARS = {
    p + s: f
    for p in ("$", "USD ")
    for s, f in {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}.items()
}
