"""Heat, water and PUE."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.cooling import evaporation, heat
from opencolossus.cooling.weather import hourly
from opencolossus.specs import catalog
from opencolossus.specs.site import Cooling

COOLINGS = catalog.names("coolings")
LIQUID: Cooling = catalog.entry("coolings", "colossus-liquid")
weather = {"dry": st.floats(-30, 50), "below": st.floats(0, 25), "it": st.floats(1e3, 1e9)}


@pytest.mark.parametrize("name", COOLINGS)
@given(**weather)
def test_energy_is_conserved(name: str, dry: float, below: float, it: float) -> None:
    cooling = catalog.entry("coolings", name)
    found = heat.heat(cooling, it, dry, dry - below)
    parts = it + found.pumps_and_fans + found.chillers + found.losses
    assert found.facility == pytest.approx(parts)
    assert found.rejected == pytest.approx(it + found.pumps_and_fans + found.chillers)
    assert min(found) >= min(0.0, cooling.supply_temperature)


@pytest.mark.parametrize("name", COOLINGS)
@given(**weather, warmer=st.floats(0, 20))
def test_warmer_air_never_costs_less(
    name: str, dry: float, below: float, it: float, warmer: float
) -> None:
    cooling = catalog.entry("coolings", name)
    cool = heat.pue(cooling, it, dry, dry - below)
    warm = heat.pue(cooling, it, dry + warmer, dry - below + warmer)
    assert 1 <= cool <= warm + 1e-12


def test_chillers_rest_when_the_air_is_cold() -> None:
    assert heat.heat(LIQUID, 1e6, 0.0, -2.0).chillers == 0
    assert heat.heat(LIQUID, 1e6, 35.0, 27.0).chillers > 0


def test_scarce_chillers_let_the_water_warm_up_and_the_gpus_slow_down() -> None:
    scarce = LIQUID.model_copy(update={"chiller_limit": 0.0, "throttle_temperature": 31.0})
    hot = heat.heat(scarce, 1e8, 38.0, 30.0)
    assert hot.chillers == 0
    # Without chillers the water is what towers make: wet bulb and two approaches.
    assert hot.supply == pytest.approx(30 + scarce.tower_approach + scarce.exchanger_approach)
    assert heat.throttle(scarce, hot.supply) < 1
    assert heat.throttle(scarce, 30.0) == 1


def test_pue_stays_in_the_range_of_new_sites() -> None:
    # AI designs stay below 1.3 over the year (Uptime Institute's mean of all sites is 1.55-1.58).
    hours = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2025-01-01T00"))
    found = heat.pue(LIQUID, 1e8, *hourly(catalog.entry("climates", "memphis"), hours))
    assert found.min() > 1.1
    assert found.mean() < 1.3


def test_water_at_150_mw_is_about_a_million_gallons_a_day() -> None:
    # 1,000,000 gallons a day were forecast for 150 MW (WREG 2024): 1.05 L/kWh.
    litres_a_day = float(heat.water(LIQUID, 150e6, 25.0, 20.0)) * 86400 * 1000
    assert litres_a_day == pytest.approx(1e6 * 3.785411784, rel=0.15)


def test_a_tower_evaporates_what_physics_says() -> None:
    # All heat latent and no blow-down: 3.6 MJ / 2.43 MJ/kg = 1.48 kg per kWh.
    pure = heat.tower_water_use(latent_share=1.0, cycles=1e9) * 3.6e6 * 1000
    assert pure == pytest.approx(3.6 / 2.43, rel=0.01)
    assert 1.4 <= heat.tower_water_use() * 3.6e6 * 1000 <= 1.9


def test_a_year_of_towers_takes_what_nrel_measured() -> None:
    # 2.5 million gallons a year for about 1 MW of computers behind evaporative towers (NREL, 23
    # August 2018, "Data Center Water-Savings Win Wins"): 1.08 L/kWh. Ours comes from Memphis.
    nrel = 2.5e6 * 3.785411784 / (8760 * 1000)
    hours = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2025-01-01T00"))
    used = heat.water(LIQUID, 1e6, *hourly(catalog.entry("climates", "memphis"), hours))
    assert used.mean() * 3600 == pytest.approx(nrel, rel=0.15)


def test_cold_air_evaporates_less() -> None:
    hours = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2025-01-01T00"))
    used = [
        heat.water(LIQUID, 1e6, *hourly(catalog.entry("climates", name), hours)).mean()
        for name in ("lulea", "dublin", "memphis", "phoenix")
    ]
    assert used == sorted(used)
    assert 0.6 < used[0] / used[-1] < 0.85


@pytest.mark.parametrize(
    ("dry", "wet", "grams"),
    # ASHRAE's psychrometric chart 1, sea level.
    [(20, 20, 14.7), (30, 30, 27.3), (30, 22, 13.3), (25, 17.9, 9.9), (0, 0, 3.8)],
)
def test_moist_air_agrees_with_the_chart(dry: float, wet: float, grams: float) -> None:
    assert evaporation.humidity(dry, wet) * 1e3 == pytest.approx(grams, rel=0.02)


def test_a_tower_warms_winter_air_and_cools_desert_air() -> None:
    assert 0.5 < evaporation.evaporated_share(-10, -11, 32) < 0.7
    assert 0.8 < evaporation.evaporated_share(28, 24, 32) < 0.9
    assert evaporation.evaporated_share(45, 22, 32) > 1
    # Saturated air at one temperature only carries vapour.
    assert evaporation.evaporated_share(32, 25, 32) == pytest.approx(1)


def test_dry_coolers_use_no_water() -> None:
    dry = LIQUID.model_copy(update={"heat_sink": "dry"})
    assert heat.water(dry, 1e8, 30.0, 20.0) == 0
    assert heat.pue(dry, 1e8, 30.0, 20.0) > heat.pue(LIQUID, 1e8, 30.0, 20.0)


@pytest.mark.parametrize(
    ("dry", "humidity", "wet"),
    # Psychrometric tables at sea level (ASHRAE 2021, Fundamentals, ch. 1), within the 1 K of Stull.
    [(20, 0.5, 13.7), (30, 0.5, 22.0), (25, 0.8, 22.3), (10, 0.6, 6.3)],
)
def test_wet_bulb_agrees_with_the_tables(dry: float, humidity: float, wet: float) -> None:
    assert heat.wet_bulb(dry, humidity) == pytest.approx(wet, abs=1.0)


def test_flow_carries_the_heat() -> None:
    # 1 MW with 10 K takes about 24 L/s of water.
    assert heat.flow(1e6, 10.0) * 1000 == pytest.approx(24.0, rel=0.01)
