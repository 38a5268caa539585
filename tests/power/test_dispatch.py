"""Who delivers the watts."""

from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opencolossus.power import supply
from opencolossus.power.dispatch import Storage, carried, dispatch, rolling_sum
from opencolossus.power.slots import slots
from opencolossus.specs import catalog
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery, Order

HOURS = 48
POWERS = arrays(float, HOURS, elements=st.floats(0, 2e8))


def storage(energy: float, limit: float, efficiency: float, charge: float) -> Storage:
    battery = Battery(
        kind="battery", energy=energy, limit=limit, efficiency=efficiency, charge=charge
    )
    return Storage(battery, np.ones(HOURS))


@settings(max_examples=60, deadline=None)
@given(
    wanted=POWERS,
    share=arrays(float, HOURS, elements=st.floats(0, 1)),
    grid=POWERS,
    engines=POWERS,
    energy=st.floats(1e9, 1e12),
    limit=st.floats(1e6, 2e8),
    efficiency=st.floats(0.5, 1),
    charge=st.floats(0, 1),
)
def test_limits_hold_and_energy_is_conserved(
    wanted: np.ndarray,
    share: np.ndarray,
    grid: np.ndarray,
    engines: np.ndarray,
    energy: float,
    limit: float,
    efficiency: float,
    charge: float,
) -> None:
    limits = {"grid": grid, "engines": engines}
    store = {"battery": storage(energy, limit, efficiency, charge)}
    # The promise of ``carried``: demand that stays within it (and within what was wanted) is met.
    demand = np.minimum(wanted, carried(wanted, wanted, grid + engines, store)) * share
    found = dispatch(demand, limits, ["grid", "engines"], store)
    tiny = 1e-6 * (1 + wanted.max() + limit)
    assert found.unserved.max() <= tiny
    total = sum(found.sources.values())
    np.testing.assert_allclose(total, demand, atol=tiny)
    for name, most in limits.items():
        assert (found.sources[name] <= most + tiny).all()
        assert (found.sources[name] >= -tiny).all()
    power, stored = found.sources["battery"], found.stored["battery"]
    assert (np.abs(power) <= limit + tiny).all()
    assert (stored >= 0).all()
    assert (stored <= energy * (1 + 1e-9)).all()
    way = efficiency**0.5
    flow = np.where(power > 0, power / way, power * way) * 3600
    change = np.diff(stored, prepend=charge * energy)
    np.testing.assert_allclose(change, -flow, atol=tiny * 3600)


def test_the_cheaper_source_comes_first() -> None:
    site: Site = catalog.entry("sites", "memphis-2024-07")
    order = supply.merit_order(site)
    costs = [supply.marginal_cost(site.power[name]) for name in order]
    assert costs == sorted(costs)
    limits = {name: np.array([10.0]) for name in order}
    found = dispatch(np.array([12.0]), limits, order, {})
    assert found.sources[order[0]] == [10.0]
    assert found.sources[order[1]] == [2.0]


def test_in_memphis_the_grid_comes_first_and_a_site_may_say_otherwise() -> None:
    # By cost: 4.3 cents of the grid's tariff, 5.3 of gas engines, 5.6 of turbines.
    site: Site = catalog.entry("sites", "colossus-2024-09")
    cents = {n: 3.6e8 * supply.marginal_cost(site.power[n]) for n in supply.merit_order(site)}
    assert list(cents) == ["grid", "grid-upgrade", "gensets", "turbines"]
    assert cents["gensets"] == pytest.approx(5.3, abs=0.1)
    assert cents["turbines"] == pytest.approx(5.6, abs=0.1)
    dear = {n: s.model_copy(update={"tariff": 1e-7}) for n, s in site.power.items() if "grid" in n}
    site = site.model_copy(update={"power": site.power | dear})
    for mode, first in (("cost", "gensets"), ("grid-first", "grid"), ("own-first", "gensets")):
        order = supply.merit_order(site.model_copy(update={"dispatch": mode}))
        assert order[0] == first


def test_a_source_delivers_from_its_first_day_on() -> None:
    # Substation 63 was energised on 1 May 2025, at 150 MW (Greater Memphis Chamber).
    site: Site = catalog.entry("sites", "colossus-2025-06")
    hours = supply.hours_between(date(2025, 4, 30), date(2025, 5, 1))
    power = supply.available(site, slots(hours, []))["substation-63"]
    assert (power[:24] == 0).all()
    assert (power[24:] == 150e6).all()


def test_an_order_of_the_utility_is_heeded() -> None:
    order = Order(start=datetime(2024, 8, 5, 15, 30), duration=3 * 3600, reduction=0.25)
    base: Site = catalog.entry("sites", "memphis-2024-07")
    site = base.model_copy(update={"orders": (order,)})
    hours = supply.hours_between(date(2024, 8, 5), date(2024, 8, 5))
    coarse = supply.available(site, slots(hours, []))["grid"]
    assert (coarse[15:19] == 0.75 * 8e6).all()
    assert (np.delete(coarse, range(15, 19)) == 8e6).all()
    assert (supply.contracted(site, hours)["grid"] == 8e6).all()
    busy = supply.busy_hours(site, hours, np.array([0]))
    assert {15, 18} <= busy
    fine = slots(hours, busy)
    minutes = supply.available(site, fine)["grid"]
    assert minutes @ fine.length == pytest.approx(8e6 * (24 - 0.75) * 3600)


def test_twelve_months_roll() -> None:
    emitted = np.ones(3 * 8766)
    total = rolling_sum(emitted, used=5000.0)
    assert total[0] == pytest.approx(1 + 5000 * (1 - 1 / 8766))
    assert total[8765] == pytest.approx(8766)
    assert (total[8766:] == 8766).all()
