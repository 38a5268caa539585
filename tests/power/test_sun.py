"""Sun and tariffs by the hour."""

from datetime import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.power import sun
from opencolossus.specs.sources import Grid, Period, Solar

YEAR = np.arange(np.datetime64("2023-01-01T00"), np.datetime64("2024-01-01T00"))
KWH = 1 / 3.6e6


def panels(latitude: float, hours: float) -> Solar:
    return Solar(kind="solar", rating=1e6, latitude=latitude, full_hours=hours * 3600)


@given(latitude=st.floats(-66, 66), hours=st.floats(100, 3000))
def test_a_year_gives_what_is_told(latitude: float, hours: float) -> None:
    given_ = sun.share(panels(latitude, hours), YEAR)
    assert given_.sum() == pytest.approx(hours, rel=1e-6)
    assert given_.min() == 0
    assert given_.max() <= 1


@pytest.mark.parametrize(
    ("day", "latitude", "light"),
    # Hours between sunrise and sunset, refraction left out (Duffie & Beckman 2013, eq. 1.6.11):
    # Denver's longest and shortest day, an equinox, and summer in Sydney.
    [
        ("2023-06-21", 39.7, 14.8),
        ("2023-12-21", 39.7, 9.2),
        ("2023-03-21", 52.0, 12),
        ("2023-12-21", -33.9, 14.2),
    ],
)
def test_days_are_as_long_as_they_are(day: str, latitude: float, light: float) -> None:
    start = np.datetime64(day + "T00")
    up = sun.height(latitude, np.arange(start, start + np.timedelta64(24, "h")))
    assert (up > 0).sum() == pytest.approx(light, abs=1.0)
    assert np.argmax(up) in (11, 12)


def test_the_sun_is_highest_where_geometry_says() -> None:
    # Noon of the summer solstice at 40° north: 90 - 40 + 23.45 degrees.
    noon = np.array([np.datetime64("2023-06-21T12")])
    assert np.degrees(np.arcsin(sun.height(40.0, noon)[0])) == pytest.approx(73.4, abs=2.5)


def grid(*periods: Period) -> Grid:
    return Grid(kind="grid", limit=1e6, tariff=0.20 * KWH, carbon=0.0, periods=periods)


def test_nights_and_weekends_have_their_own_price() -> None:
    night = Period(tariff=0.10 * KWH, start=time(22), end=time(6))
    weekend = Period(tariff=0.05 * KWH, start=time(0), end=time(0), days="weekends")
    source = grid(night, weekend)
    # 20 November 2026 is a Friday.
    hours = np.arange(np.datetime64("2026-11-20T00"), np.datetime64("2026-11-23T00"))
    price = sun.tariff(source, hours) / KWH
    assert price[:6] == pytest.approx(0.10)
    assert price[6:22] == pytest.approx(0.20)
    assert price[22:24] == pytest.approx(0.10)
    assert price[24:] == pytest.approx(0.05)
    # 5 days of 16 h at 0.20 and 8 h at 0.10, 2 days at 0.05.
    assert sun.mean_tariff(source) / KWH == pytest.approx((5 * (3.2 + 0.8) + 2 * 1.2) / 168)


def test_without_periods_the_tariff_is_the_tariff() -> None:
    assert sun.tariff(grid(), YEAR[:5]) == pytest.approx(0.20 * KWH)
    assert sun.mean_tariff(grid()) == pytest.approx(0.20 * KWH)
