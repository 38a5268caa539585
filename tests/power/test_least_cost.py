"""Linear programming against merit order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opencolossus.power.dispatch import Storage, dispatch
from opencolossus.power.least_cost import Plant, least_cost
from opencolossus.specs.errors import UserError
from opencolossus.specs.sources import Battery

HOURS = 24
KWH = 3.6e6


def bill(sources: dict[str, np.ndarray], costs: dict[str, np.ndarray | float]) -> float:
    return float(sum((sources[n] * 3600 * c).sum() for n, c in costs.items()))


@settings(max_examples=25, deadline=None)
@given(
    demand=arrays(float, HOURS, elements=st.floats(0, 1e8)),
    cheap=st.floats(1e6, 1e8),
    prices=st.tuples(st.floats(0.01, 0.2), st.floats(0.01, 0.2)),
)
def test_without_storage_merit_order_is_the_optimum(
    demand: np.ndarray, cheap: float, prices: tuple[float, float]
) -> None:
    limits = {"a": np.full(HOURS, cheap), "b": np.full(HOURS, 1.2e8)}
    costs = dict(zip(limits, (p / KWH for p in prices), strict=True))
    order = sorted(limits, key=costs.__getitem__)
    merit = dispatch(demand, limits, order, {})
    best = least_cost(demand, {n: Plant(limits[n], costs[n]) for n in limits}, {})
    assert bill(best.sources, costs) == pytest.approx(bill(merit.sources, costs), rel=1e-6, abs=1)
    np.testing.assert_allclose(sum(best.sources.values()), demand, atol=1)


def test_a_battery_buys_at_night_and_sells_by_day() -> None:
    price = np.where(np.arange(HOURS) < 8, 0.03, 0.12) / KWH
    battery = Battery(kind="battery", energy=40e6 * 3600, limit=10e6, efficiency=0.9, charge=0)
    storage = Storage(battery, np.ones(HOURS))
    demand = np.full(HOURS, 50e6)
    plant = {"grid": Plant(np.full(HOURS, 70e6), price)}
    found = least_cost(demand, plant, {"battery": storage})
    plain = bill({"grid": demand}, {"grid": price})
    assert found.sources["battery"][:8].min() < -1e6
    assert found.sources["battery"][8:].max() > 1e6
    saved = plain - bill(found.sources, {"grid": price})
    # 40 MWh bought for 3 cents with half the loss, sold for 12 with the other half.
    way = 0.9**0.5
    assert saved == pytest.approx(40_000 * (0.12 * way - 0.03 / way), rel=1e-3)


def test_a_permit_is_spent_where_power_is_dear() -> None:
    price = np.where(np.arange(HOURS) < 12, 0.04, 0.15) / KWH
    plants = {
        "grid": Plant(np.full(HOURS, 50e6), price),
        "engines": Plant(np.full(HOURS, 20e6), 0.035 / KWH, nox=1e-9, allowance=12 * 20e6 * 3.6e-6),
    }
    found = least_cost(np.full(HOURS, 50e6), plants, {})
    emitted = found.sources["engines"].sum() * 3600 * 1e-9
    assert emitted <= 12 * 20e6 * 3.6e-6 * (1 + 1e-9)
    assert found.sources["engines"][:12].sum() == pytest.approx(0, abs=1)
    assert found.sources["engines"][12:].min() == pytest.approx(20e6)
    # One more kg would replace cheap grid power: (0.04 - 0.035) dollars a kWh, 1e-9 kg a J.
    assert found.permit_prices["engines"] == pytest.approx(0.005 / KWH / 1e-9, rel=0.01)


def test_too_much_demand_is_named() -> None:
    with pytest.raises(UserError, match="no dispatch carries a demand of up to 60 MW"):
        least_cost(np.full(HOURS, 60e6), {"grid": Plant(np.full(HOURS, 50e6), 1e-8)}, {})


def test_a_battery_shaves_the_peak_that_costs() -> None:
    # 10 hours of 20 MW among 10 MW; without a demand charge nothing would move.
    demand = np.where((np.arange(HOURS) >= 8) & (np.arange(HOURS) < 18), 20e6, 10e6)
    battery = Battery(kind="battery", energy=50e6 * 3600, limit=10e6, efficiency=1.0, charge=0)
    storages = {"battery": Storage(battery, np.ones(HOURS))}
    limit, price = np.full(HOURS, 50e6), 0.05 / KWH
    free = least_cost(demand, {"grid": Plant(limit, price)}, storages)
    assert bill(free.sources, {"grid": price}) == pytest.approx(demand.sum() * 3600 * price)
    charged = least_cost(demand, {"grid": Plant(limit, price, peak_cost=1e-6)}, storages)
    # Eight hours fill it by as much as ten empty it: 8 (p - 10) = 10 (20 - p).
    assert charged.sources["grid"].max() == pytest.approx(280e6 / 18, rel=1e-6)
    np.testing.assert_allclose(sum(charged.sources.values()), demand, atol=1)


def test_each_month_has_its_own_peak_and_permits_keep_their_price() -> None:
    demand = np.where(np.arange(HOURS) < 12, 30e6, 10e6)
    plants = {
        "grid": Plant(np.full(HOURS, 40e6), 0.03 / KWH, peak_cost=1e-7),
        "engines": Plant(np.full(HOURS, 15e6), 0.05 / KWH, nox=1e-9, allowance=1e-9 * 3600 * 20e6),
    }
    halves = (np.arange(HOURS) >= 12).astype(np.intp)
    found = least_cost(demand, plants, {}, halves)
    assert (found.sources["engines"] * 3600 * 1e-9).sum() <= 1e-9 * 3600 * 20e6 * (1 + 1e-9)
    assert list(found.permit_prices) == ["engines"]
    assert found.permit_prices["engines"] >= 0
