"""Units that trip by chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.power import trips
from opencolossus.power.slots import slots
from opencolossus.power.trips import Trips
from opencolossus.specs import catalog
from opencolossus.specs.sources import Generators, Grid

HOURS = np.arange(np.datetime64("2024-07-01T00"), np.datetime64("2024-07-11T00"))
ENGINES: Generators = catalog.entry("sites", "memphis-2024-07").power["gensets"]
GRID: Grid = catalog.entry("sites", "memphis-2024-07").power["grid"]
YEAR = 8766 * 3600.0


def test_units_are_out_for_the_share_that_repairs_take() -> None:
    # Forced outage rate = mttr / (mtbf + mttr); 5,000 expected trips scatter by 1.4 %.
    engines = ENGINES.model_copy(update={"count": 100, "mtbf": 1500 * 3600.0, "mttr": 75 * 3600.0})
    found = trips.draw({"e": engines}, 9 * YEAR, np.random.default_rng(0))["e"]
    out = found.duration.sum() / (9 * YEAR * 100)
    assert out == pytest.approx(75 / 1575, rel=0.05)
    assert (np.diff(found.start) >= 0).all()


def test_well_kept_generators_fail_within_two_weeks_one_time_in_five() -> None:
    # Marqusee & Jenket 2020 (NREL, Applied Energy 268): well maintained diesels, single unit.
    assert ENGINES.mtbf is not None
    assert 1 - np.exp(-14 * 86400 / ENGINES.mtbf) == pytest.approx(0.20, abs=0.02)


def test_nothing_trips_without_a_rate() -> None:
    assert trips.draw({"grid": GRID}, YEAR, np.random.default_rng(0)) == {}


def test_a_source_keeps_its_dice_when_another_one_comes() -> None:
    grid = GRID.model_copy(update={"mtbf": 1e6, "mttr": 1e4})
    alone = trips.draw({"grid": grid}, YEAR, np.random.default_rng(5))["grid"]
    both = trips.draw({"grid": grid, "gensets": ENGINES}, YEAR, np.random.default_rng(5))["grid"]
    np.testing.assert_array_equal(alone.start, both.start)


@given(
    start=st.lists(st.floats(0, 9 * 86400), max_size=6),
    lasting=st.floats(1, 86400),
    fine=st.sets(st.integers(0, 239), max_size=20),
)
def test_a_unit_is_out_in_every_slot_that_its_trip_touches(
    start: list[float], lasting: float, fine: set[int]
) -> None:
    time = slots(HOURS, fine)
    found = Trips(np.sort(np.array(start)), np.full(len(start), lasting)).out(time)
    end = time.start + time.length
    touched = [
        sum(b < e - 1e-9 and b + lasting > s + 1e-9 for b in start)
        for s, e in zip(time.start, end, strict=True)
    ]
    np.testing.assert_array_equal(found, touched)


def test_standby_units_step_in() -> None:
    engines = ENGINES.model_copy(update={"count": 15, "standby": 1})
    assert engines.limit == ENGINES.limit
    out = np.array([0.0, 1.0, 2.0, 20.0])
    left = trips.left(engines, np.full(4, engines.limit), out)
    np.testing.assert_allclose(left / engines.unit, [14, 14, 13, 0])
    np.testing.assert_allclose(trips.left(GRID, np.full(4, 8e6), out), [8e6, 0, 0, 0])


def test_a_grid_is_one_unit_and_rates_come_in_pairs() -> None:
    assert GRID.units == 1
    with pytest.raises(ValueError, match="mtbf needs mttr"):
        Grid.model_validate(GRID.model_dump() | {"mtbf": 1e6, "mttr": None})
    with pytest.raises(ValueError, match=r"standby \(14\) must be less than count \(14\)"):
        Generators.model_validate(ENGINES.model_dump() | {"standby": 14})
