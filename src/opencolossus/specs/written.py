"""Quantities as people write them: ``parse("43 MW", POWER)`` is ``43e6``."""

from __future__ import annotations

import re

from opencolossus.specs.units import DIMENSIONS, Dimension

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


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
    if match is None:
        raise UnitError(
            f"{text!r} is not {article(dimension.name)}; write it like {dimension.example!r}"
        )
    rest = body[match.end() :]
    if rest[:1] == "," or rest[:1].isdigit():  # 70,5 is no 705
        raise UnitError(
            f"{text!r}: commas part thousands, as in 1,000, and a point decimals, as in 70.5; "
            f"write it like {dimension.example!r}"
        )
    number = float(match.group().replace(",", "").replace("_", ""))
    unit = money + rest.strip()
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
    wanted = article(dimension.name)
    other = next((d.name for d in DIMENSIONS if unit and unit in d.units), None)
    if other:
        what = f"{unit!r} is a unit of {other}, but this is {wanted}; write it like"
    else:
        meant = max(
            (known for known in dimension.units if known.casefold() == unit.casefold()),
            key=lambda known: dimension.units[known],
            default=None,
        )
        guess = f" (did you mean {meant!r}?)" if meant else ""
        what = f"{unit!r} is not a known unit{guess}; write {wanted} like"
    return f"{text!r}: {what} {dimension.example!r}"
