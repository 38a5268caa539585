"""Starts, ramps, minimum loads: what sources can do from minute to minute."""

from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opencolossus.power import supply
from opencolossus.power.dispatch import in_order
from opencolossus.power.follow import Followed, climb, follow
from opencolossus.power.online import online
from opencolossus.power.slots import Slots, slots
from opencolossus.specs import catalog
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery, Generators, Grid, Order, Outage, PowerSource

MW = 1e6
DAY = date(2024, 8, 5)
HOURS = supply.hours_between(DAY, DAY)
BASE: Site = catalog.entry("sites", "memphis-2024-07")


def engines(count: int = 4, rating: float = 5 * MW, **more: object) -> Generators:
    given: dict[str, object] = {
        "kind": "gensets",
        "count": count,
        "rating": rating,
        "heat_rate": 2.5,
        "fuel_price": 1e-9,
        "carbon": 1e-7,
        "start_time": 300.0,
        "ramp": 4 * MW / 60,
        "min_load": 0.4,
    }
    return Generators.model_validate(given | more)


def grid(limit: float = 50 * MW) -> Grid:
    return Grid(kind="grid", limit=limit, tariff=1e-8, carbon=1e-7)


def site(power: dict[str, PowerSource], **more: object) -> Site:
    return BASE.model_copy(update={"power": power, "dispatch": "grid-first", **more})


def run(place: Site, wanted: float) -> tuple[Slots, dict[str, np.ndarray], Followed]:
    """Play one day with a steady demand."""
    time = slots(HOURS, supply.busy_hours(place, HOURS, np.array([0])))
    now, warned = supply.available(place, time), supply.available(place, time, warned=True)
    calm = supply.contracted(place, time.moments)
    order = supply.merit_order(place)
    batteries = [n for n, s in place.power.items() if isinstance(s, Battery)]
    bridged = np.full(time.length.shape, bool(batteries))
    demand = np.full(time.length.shape, wanted)
    on = online(place.power, demand, now, warned, calm, order, time, bridged)
    return time, on, follow(place.power, demand, on, order, time)


def at(time: Slots, hour: int, minute: int) -> int:
    return int(np.searchsorted(time.start, hour * 3600 + minute * 60))


def test_a_cold_engine_needs_its_start_time_and_then_its_ramp() -> None:
    # The grid falls away at 15:00; engines need 5 min to start and climb by 4 MW a minute.
    fails = (Outage(source="grid", start=datetime(2024, 8, 5, 15), duration=3600.0),)
    time, _, found = run(site({"grid": grid(), "engines": engines()}, outages=fails), 40 * MW)
    start = at(time, 15, 0)
    power = found.given["engines"][start : start + 12] / MW
    np.testing.assert_allclose(power, [0, 0, 0, 0, 0, 4, 8, 12, 16, 20, 20, 20])
    assert found.given["grid"][start - 1] == 40 * MW
    assert found.given["grid"][start : start + 60].max() == 0
    # When the grid is back it takes over at once.
    assert found.given["grid"][at(time, 16, 0)] == 40 * MW


def test_an_order_with_notice_finds_engines_running() -> None:
    order = Order(start=datetime(2024, 8, 5, 15), duration=3600, reduction=0.5, notice=900)
    place = site({"grid": grid(), "engines": engines()}, orders=(order,))
    time, on, found = run(place, 40 * MW)
    start = at(time, 15, 0)
    assert on["engines"][start] == 15 * MW  # three units of five for what 25 MW leave open
    assert on["engines"][at(time, 14, 49)] == 0
    assert on["engines"][at(time, 14, 50)] == 15 * MW
    # They run at their minimum load before the order, and climb from there.
    assert found.given["engines"][start - 1] == pytest.approx(0.4 * 15 * MW)
    late = order.model_copy(update={"notice": 0.0})
    _, _, cold = run(place.model_copy(update={"orders": (late,)}), 40 * MW)
    assert cold.given["engines"].sum() < found.given["engines"].sum()


def test_a_dark_site_starts_in_order() -> None:
    # Turbines need power to start: they begin when the engines have come up.
    turbines = engines(2, 10 * MW, kind="turbines", start_time=600.0, ramp=None)
    fails = (Outage(source="grid", start=datetime(2024, 8, 5, 9), duration=7200.0),)
    power: dict[str, PowerSource] = {"grid": grid(), "engines": engines(), "turbines": turbines}
    time, on, _ = run(site(power, outages=fails), 40 * MW)
    first = {n: int(np.flatnonzero(on[n][at(time, 9, 0) :])[0]) for n in ("engines", "turbines")}
    assert first == {"engines": 5, "turbines": 15}
    # With a battery the site is never dark, and both start at once.
    battery = Battery(kind="battery", energy=1e10, limit=MW)
    time, on, _ = run(site(power | {"battery": battery}, outages=fails), 40 * MW)
    first = {n: int(np.flatnonzero(on[n][at(time, 9, 0) :])[0]) for n in ("engines", "turbines")}
    assert first == {"engines": 5, "turbines": 10}
    # Nothing that starts in the dark: it stays dark.
    del power["engines"]
    time, on, _ = run(site(power, outages=fails), 40 * MW)
    assert on["turbines"][at(time, 9, 0) : at(time, 11, 0)].max() == 0


def test_running_units_keep_their_minimum_load() -> None:
    demand = np.array([30.0, 12.0, 3.0])
    limits = {"grid": np.full(3, 20.0), "engines": np.full(3, 20.0)}
    found = in_order(demand, limits, ["grid", "engines"], {"engines": np.full(3, 8.0)})
    np.testing.assert_allclose(found.sources["engines"], [10, 8, 3])
    np.testing.assert_allclose(found.sources["grid"], [20, 4, 0])


@settings(max_examples=60, deadline=None)
@given(
    wanted=arrays(float, 24, elements=st.floats(0, 8e7)),
    limit=st.floats(0, 6e7),
    count=st.integers(1, 8),
    start_time=st.floats(0, 1200),
    ramp=st.floats(1e3, 1e6),
    minutes=st.integers(0, 1439),
    lasting=st.floats(60, 20_000),
)
def test_no_source_climbs_faster_than_its_ramp_or_starts_faster_than_it_can(
    wanted: np.ndarray,
    limit: float,
    count: int,
    start_time: float,
    ramp: float,
    minutes: int,
    lasting: float,
) -> None:
    begin = datetime(2024, 8, 5, minutes // 60, minutes % 60)
    fails = (Outage(source="grid", start=begin, duration=lasting),)
    power: dict[str, PowerSource] = {
        "grid": grid(max(limit, 1.0)),
        "engines": engines(count, start_time=start_time, ramp=ramp),
    }
    place = site(power, outages=fails)
    time = slots(HOURS, range(24))
    demand = time.at(wanted)
    now, calm = supply.available(place, time), supply.contracted(place, time.moments)
    order = supply.merit_order(place)
    dark = np.zeros(time.length.shape, dtype=bool)
    on = online(place.power, demand, now, now, calm, order, time, dark)
    found = follow(place.power, demand, on, order, time)
    given = found.given
    assert (sum(given.values()) <= demand + 1e-3).all()
    for name, power_given in given.items():
        assert (power_given >= 0).all()
        assert (power_given <= now[name] + 1e-3).all()
        assert (power_given <= on[name] + 1e-3).all()
    assert np.diff(given["engines"]).max() <= ramp * 60 + 1e-3
    # Where engines begin to run nobody ran them before for as long as a start takes.
    begins = np.flatnonzero((on["engines"][1:] > 0) & (on["engines"][:-1] == 0)) + 1
    for slot in begins.tolist():
        past = time.start[slot] - start_time
        before = (time.start >= past - 60) & (time.start < time.start[slot])
        assert (on["engines"][before] == 0).sum() >= min(start_time // 60, slot)


def test_what_a_climb_costs() -> None:
    # 80 MW missing at 30 MW a minute: 160 s of climbing, on average at half.
    assert climb(110 * MW, 30 * MW, 0.0, 30 * MW / 60) == pytest.approx(80)
    assert climb(110 * MW, 30 * MW, 80 * MW, 30 * MW / 60) == 0
    assert climb(110 * MW, 30 * MW, 0.0, None) == 0
    # Against a numerical integral of the work above idle that is missing.
    time = np.arange(0, 300, 0.01)
    reach = np.minimum(80.0, 20 + 0.5 * time)
    assert climb(110 * MW, 30 * MW, 20 * MW, 0.5 * MW) == pytest.approx(
        (80 - reach).sum() * 0.01 / 80, rel=1e-3
    )
