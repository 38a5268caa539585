"""Published facts that nothing was set to; docs/simulate.md tells them with the misses."""

import numpy as np
import pytest

from opencolossus.cooling.heat import pue, water
from opencolossus.cooling.weather import hourly
from opencolossus.fabric import clos
from opencolossus.power import caps
from opencolossus.power.capacity import provisioned_gpu_power
from opencolossus.power.demand import gpu_power_at_cap, node_power, provisioned_node_power
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.failures import Failures
from opencolossus.specs.site import Site

YEAR = np.arange(np.datetime64("2024-01-01T00"), np.datetime64("2025-01-01T00"))
HHV = 1.108
"""Higher per lower heating value of natural gas."""
TON = 907.18474
LLAMA: Failures = catalog.entry("failures", "llama3-h100")
MILLION: Cluster = catalog.entry("clusters", "colossus-million")
SITE: Site = catalog.entry("sites", "colossus-million")


def per_gpu_day(group: str | None = None) -> float:
    return 86400 * sum(
        cause.rate
        for cause in LLAMA.causes.values()
        if cause.per == "gpu" and group in (None, cause.group)
    )


def test_a_stream_of_tokens_takes_between_300_and_600_w_of_an_h100() -> None:
    # ML.ENERGY Benchmark 3.0: decoding at batch 1 and 128 (vllm-semantic-router.com, power model).
    gpu = catalog.entry("gpus", "h100-sxm")
    assert 300 <= gpu_power_at_cap(gpu, 700.0, gpu.power_curve.memory_activity) <= 600


def test_a_rack_of_gb300_peaks_at_142_kw() -> None:
    # Manish KL, April 2026 (manishklach.github.io).
    tray = catalog.entry("nodes", "nvl72-gb300")
    assert 18 * float(provisioned_node_power(tray, tray.gpu.tdp)) == pytest.approx(142e3, rel=0.03)


def test_gb200_near_1_000_w_is_close_to_its_best() -> None:
    # Meta's model of 83,000 GB200 has its best work per watt near 1,000 W (arXiv 2605.24461). Ours
    # has it at 670 W, but flat: 1,000 W lose less than 5 %.
    tray = catalog.entry("nodes", "nvl72-gb200")
    tried = np.arange(300.0, 1201.0, 10.0)
    work = caps.speed_at_cap(tray.gpu, tried) / provisioned_node_power(tray, tried)
    assert float(np.interp(1000.0, tried, work)) > 0.95 * work.max()


def test_a_building_of_abilene_holds_about_50_000_gb200() -> None:
    # Crusoe, 18 March 2025: two buildings with more than 200 MW, eight with 1.2 GW, up to 50,000
    # GB200 each: 2.0 to 3.0 kW a GPU. No weather of Abilene is in the catalog; Phoenix is as hot.
    pool = next(p for p in MILLION.pools.values() if p.node.gpu.name.endswith("GB200"))
    switches = clos.size(pool.node, MILLION.fabric, 50_000).switches / 50_000
    each = float(provisioned_gpu_power(MILLION, pool, 1200.0, switches))
    weather = hourly(catalog.entry("climates", "phoenix"), YEAR)
    hottest = float(pue(catalog.entry("coolings", "gb200-liquid"), 1.0, *weather).max())
    assert 2000 < each * hottest < 3000


def test_110_000_blackwells_need_about_170_mw() -> None:
    # The first phase of Colossus 2: GB200 and GB300 (avalanchenoticias.com.br, August 2025).
    pool = next(p for p in MILLION.pools.values() if p.node.gpu.name.endswith("GB200"))
    gpu = pool.node.gpu
    busy = 0.7 * 1200 + 0.1 * gpu_power_at_cap(gpu, 1200.0, 0.3) + 0.2 * gpu.ready_power
    weather = hourly(SITE.climate, YEAR)
    effectiveness = float(pue(catalog.entry("coolings", "gb200-liquid"), 1.0, *weather).mean())
    total = 110e3 / 4 * float(node_power(pool.node, busy)) * effectiveness
    assert total == pytest.approx(170e6, rel=0.15)


def test_air_cooled_halls_in_ireland_have_a_pue_of_1_22() -> None:
    # Microsoft, 12 months of 2021 (local.microsoft.com).
    weather = hourly(catalog.entry("climates", "dublin"), YEAR)
    found = pue(catalog.entry("coolings", "air-hall"), 1.0, *weather).mean()
    assert found == pytest.approx(1.22, abs=0.04)


def test_towers_take_more_water_than_a_fleet_that_mostly_has_none() -> None:
    # Microsoft's fleet: 0.49 L/kWh in 2021, 0.30 in 2024; most of it is cooled by outside air,
    # which no plant of the catalog is. So this is a bound and no check.
    weather = hourly(catalog.entry("climates", "dublin"), YEAR)
    used = (water(catalog.entry("coolings", "air-hall"), 1e6, *weather) * 3600).mean()
    assert used > 0.49


def test_1_2_gw_of_southaven_emit_423_tons_a_year() -> None:
    # Air modelling of 41 turbines (Daily Memphian through 512pixels.net, July 2025).
    southaven = SITE.power["southaven"]
    tons = 1.2e9 * 8760 * 3600 * southaven.nox / TON
    assert tons == pytest.approx(423.4, rel=0.15)


@pytest.mark.parametrize(
    ("plant", "efficiency"),
    [
        # J 624: 45.6 % of the lower heating value (GE Jenbacher, JMS 624 GS-N.L, 2016).
        ("gensets", 0.456),
        # Titan 250: 40 % at the shaft, less the generator's 2 % (Solar Turbines, 09-IAGT-102).
        ("southaven", 0.392),
    ],
)
def test_engines_and_turbines_burn_what_their_makers_say(plant: str, efficiency: float) -> None:
    found = HHV / SITE.power[plant].heat_rate
    assert found == pytest.approx(efficiency, rel=0.03)


def test_a_megapack_returns_91_percent() -> None:
    # Tesla, Megapack 3, at medium voltage and with auxiliaries (climovo.com).
    assert SITE.power["megapacks"].efficiency == pytest.approx(0.91, abs=0.015)


def test_504_b200_had_ten_gpu_failures_in_55_days() -> None:
    # arXiv 2605.09370: ten with an Xid on 63 servers; two standard deviations of a count of ten.
    assert per_gpu_day("gpu") * 504 * 55 == pytest.approx(10, abs=2 * 10**0.5)


def test_more_than_ten_thousand_gpus_restart_more_than_a_hundred_times() -> None:
    # MegaScale, several weeks on 12,288 GPUs (arXiv 2402.15627); several are three at least.
    assert per_gpu_day() * 12_288 * 21 > 100


def test_other_clusters_break_within_three_times_ours() -> None:
    # Crusoe: 205 faults in four months, of an H200 cluster of about 1,600 GPUs
    # (glennklockwood.com/garden/component-reliability).
    crusoe = 205 / (1600 * 122)
    assert 1 / 3 < per_gpu_day() / crusoe < 3
