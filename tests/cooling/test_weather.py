"""Hours from months."""

import numpy as np
import pytest

from opencolossus.cooling.weather import hourly
from opencolossus.specs import catalog
from opencolossus.specs.site import HeatWave

HOURS = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2025-01-01T00"))


@pytest.mark.parametrize("name", catalog.names("climates"))
def test_hours_keep_the_means_of_their_months(name: str) -> None:
    climate = catalog.entry("climates", name)
    dry, wet = hourly(climate, HOURS)
    months = HOURS.astype("datetime64[M]").astype(int) % 12
    for month, spec in enumerate(climate.months):
        # Straight lines between the middles of months cut the peaks off by a little.
        assert dry[months == month].mean() == pytest.approx(spec.dry_bulb, abs=1.5)
    assert (wet <= dry).all()


def test_the_afternoon_is_warmer_than_the_night_by_the_swing() -> None:
    climate = catalog.entry("climates", "memphis")
    dry, _ = hourly(climate, HOURS)
    july = dry[(np.datetime64("2024-07-16") <= HOURS) & (np.datetime64("2024-07-17") > HOURS)]
    assert july.argmax() in (14, 15)
    assert july.max() - july.min() == pytest.approx(climate.months[6].swing, rel=0.05)


def test_a_heat_wave_adds_its_warmth_on_its_days() -> None:
    climate = catalog.entry("climates", "memphis")
    wave = HeatWave(start="2024-08-10", days=3, dry_bulb=6, wet_bulb=2)
    before, _ = hourly(climate, HOURS)
    after, _ = hourly(climate, HOURS, [wave])
    struck = (np.datetime64("2024-08-10") <= HOURS) & (np.datetime64("2024-08-13") > HOURS)
    np.testing.assert_allclose(after - before, np.where(struck, 6.0, 0.0))
