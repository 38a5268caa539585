"""Quantities: what is written comes back, and what is wrong is named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.specs import units
from opencolossus.specs.units import DIMENSIONS, Dimension, show
from opencolossus.specs.written import UnitError, parse

WRITTEN = [
    ("43 MW", units.POWER, 43e6),
    ("8MW", units.POWER, 8e6),
    ("400 Gbit/s", units.BANDWIDTH, 50e9),
    ("400 Gbps", units.BANDWIDTH, 50e9),
    ("3.35 TB/s", units.BANDWIDTH, 3.35e12),
    ("80 GB", units.SIZE, 80e9),
    ("80 GiB", units.SIZE, 80 * 2**30),
    ("6T tokens", units.COUNT, 6e12),
    ("6 trillion tokens", units.COUNT, 6e12),
    ("100,000", units.COUNT, 1e5),
    ("1,234,567.5 kW", units.POWER, 1.2345675e9),
    ("100_000", units.COUNT, 1e5),
    ("122 days", units.DURATION, 122 * 86400),
    ("90 min", units.DURATION, 5400),
    ("$30000", units.MONEY, 30000),
    ("$3B", units.MONEY, 3e9),
    ("$0.078/kWh", units.PRICE_PER_ENERGY, 0.078 / 3.6e6),
    ("3.9 MWh", units.ENERGY, 3.9 * 3.6e9),
    ("15 %", units.FRACTION, 0.15),
    ("0.15", units.FRACTION, 0.15),
    ("25 °C", units.TEMPERATURE, 25),
    ("77 °F", units.TEMPERATURE, 25),
    ("300 K", units.TEMPERATURE, 26.85),
    ("365 g/kWh", units.EMISSION, 0.365 / 3.6e6),
    ("87 tons", units.MASS, 87 * 907.18474),
    ("5 MW/min", units.RAMP, 5e6 / 60),
    ("1 Mgal/day", units.FLOW, 3785.411784 / 86400),
    ("1.05 L/kWh", units.WATER_USE, 1.05e-3 / 3.6e6),
    ("3412.14163 Btu/kWh", units.HEAT_RATE, 1.0),
    ("1980 MHz", units.FREQUENCY, 1.98e9),
    ("989 TFLOP/s", units.FLOPS, 989e12),
]


@pytest.mark.parametrize(("text", "dimension", "value"), WRITTEN)
def test_people_write_units(text: str, dimension: Dimension, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda d: d.name)
def test_every_example_in_an_error_message_is_valid(dimension: Dimension) -> None:
    assert math.isfinite(parse(dimension.example, dimension))


@given(st.sampled_from(DIMENSIONS), st.floats(min_value=1e-6, max_value=1e18))
def test_what_is_shown_can_be_read_back(dimension: Dimension, value: float) -> None:
    assert parse(show(value, dimension, digits=17), dimension) == pytest.approx(value, rel=1e-12)


@given(st.sampled_from(DIMENSIONS), st.text(max_size=12))
def test_no_text_ends_in_anything_but_a_number_or_a_unit_error(
    dimension: Dimension, text: str
) -> None:
    try:
        message = None
        value = parse(text, dimension)
    except UnitError as error:
        message = str(error)
    assert isinstance(value, float) if message is None else dimension.example in message


@pytest.mark.parametrize(
    ("text", "dimension", "says"),
    [
        ("43 MB", units.POWER, "is a unit of size"),
        ("43", units.POWER, "has no unit"),
        ("many", units.POWER, "is not a power"),
        ("43 MX", units.POWER, "not a known unit"),
        ("70 kw", units.POWER, "did you mean 'kW'"),
        ("70 mw", units.POWER, "did you mean 'MW'"),
        ("70,5 kW", units.POWER, "a point decimals"),
        ("1,00,000 tokens", units.COUNT, "commas part thousands"),
        ("1,0000", units.COUNT, "commas part thousands"),
        ("80 Gbit/s", units.SIZE, "is a unit of bandwidth"),
        ("$5", units.POWER, "is not a power"),
    ],
)
def test_a_wrong_unit_is_named(text: str, dimension: Dimension, says: str) -> None:
    with pytest.raises(UnitError, match=says):
        parse(text, dimension)
