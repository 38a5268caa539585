"""Closed forms against each other, against search and against published figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.faults import goodput
from opencolossus.faults.process import strike
from opencolossus.faults.timeline import Interruptions, account
from opencolossus.specs import catalog
from opencolossus.specs.scales import DAY, HOUR


@pytest.mark.parametrize(("gpus", "hours"), [(16_384, 1.8), (131_072, 0.23)])
def test_mttf_of_rsc_1_grows_with_the_job_as_projected(gpus: int, hours: float) -> None:
    # Kokolis et al. 2024 (arXiv 2410.21680): 6.50e-3 failures per node-day of 8 GPUs.
    mttf = 1 / goodput.interrupt_rate(gpus / 8, 6.5e-3 / DAY)
    assert mttf / HOUR == pytest.approx(hours, rel=0.05)


@pytest.mark.parametrize(("links", "years", "minutes"), [(100_000, 5, 26.28), (50_000, 4, 42.05)])
def test_many_good_links_fail_often(links: int, years: int, minutes: float) -> None:
    # SemiAnalysis 2024: 100,000 links of 5 years MTTF, and Cedar-7 with half of them at 4 years.
    mttf = 1 / goodput.interrupt_rate(links, 1 / (years * 365 * DAY))
    assert mttf / 60 == pytest.approx(minutes, rel=1e-3)


def test_the_best_interval_is_found_by_search_too() -> None:
    for mttf, write in ((1800.0, 5.0), (3 * HOUR, 60.0), (24 * HOUR, 300.0)):
        tried = np.geomspace(0.05, 20, 4001) * np.sqrt(2 * write * mttf)
        best = tried[goodput.renewal_goodput(1 / mttf, tried, write, 300.0).argmax()]
        assert goodput.optimum_interval(write, mttf) == pytest.approx(best, rel=0.1)


@given(
    rate=st.floats(1e-6, 2e-4),
    interval=st.floats(60, 1800),
    write=st.floats(0, 60),
    restart=st.floats(0, 900),
)
def test_first_order_and_exact_agree_where_failures_are_rare(
    rate: float, interval: float, write: float, restart: float
) -> None:
    first = goodput.goodput(rate, interval, write, restart)
    exact = goodput.renewal_goodput(rate, interval, write, restart)
    small = rate * (restart + interval + write)
    assert 0 <= exact <= 1
    assert abs(first - exact) <= 1.5 * small**2 + rate * write + 1e-9


def test_llama_3_lost_less_than_a_tenth() -> None:
    # More than 90 % effective training time with 466 interruptions in 54 days on 16,384 GPUs
    # (arXiv 2407.21783, section 3.3.4); tolerance 3 points.
    recovery = catalog.entry("failures", "llama3-h100").recovery
    rate = 466 / (54 * DAY)
    restart = recovery.detection + recovery.restart + recovery.setup_per_rank * 16_384
    size = goodput.checkpoint_size(405e9)
    write = goodput.write_time(size, 2e12, recovery.checkpoint_blocking)
    interval = goodput.optimum_interval(write, 1 / rate)
    assert goodput.goodput(rate, interval, write, restart) >= 0.87


def test_bloom_wrote_as_much_as_is_reckoned() -> None:
    # BLOOM-176B: 2.3 TB per checkpoint (Stas Bekman, ML engineering).
    assert goodput.checkpoint_size(176e9) == pytest.approx(2.3e12, rel=0.1)


def test_memory_of_other_hosts_takes_checkpoints_faster_than_storage() -> None:
    cluster = catalog.entry("clusters", "colossus-100k")
    pool = next(iter(cluster.pools.values()))
    failures = catalog.entry("failures", "llama3-h100")
    recovery = failures.recovery.model_copy(update={"checkpoint": "memory"})
    memory = cluster.model_copy(
        update={"failures": failures.model_copy(update={"recovery": recovery})}
    )
    # 400 Gbit/s a GPU against 2 TB/s for 24,000 of them.
    assert goodput.checkpoint_bandwidth(memory, pool, 1000) == pytest.approx(1000 * 50e9)
    assert goodput.checkpoint_bandwidth(cluster, pool, 24_000) == pytest.approx(2e12, rel=0.05)
    given = cluster.model_copy(update={"storage_bandwidth": 1e12})
    assert goodput.checkpoint_bandwidth(given, pool, 1000) == 1e12


@pytest.mark.parametrize("mode", ["restart", "replica"])
def test_dice_agree_with_the_closed_form_of_either_recovery(mode: str) -> None:
    recovery = catalog.entry("failures", "llama3-h100").recovery.model_copy(update={"mode": mode})
    rate, interval, write, ranks = 1 / 600, 200.0, 2.0, 100_000
    pause = float(goodput.outage(recovery, ranks, 500))
    hours = 20_000
    strikes = strike(np.full((hours, 1), rate), np.random.default_rng(4))
    ones = np.ones(strikes.time.size)
    stops = Interruptions(
        strikes.time,
        pause * ones,
        interval * ones,
        write * ones,
        ones > (1 if mode == "restart" else 0),
        strikes.cause,
    )
    found = account(stops, np.arange(hours + 1) * 3600.0, 1)
    law = goodput.renewal_goodput if mode == "restart" else goodput.replica_goodput
    expected = float(law(rate, interval, write, pause))
    assert found.work.sum() / (hours * 3600) == pytest.approx(expected, abs=0.01)


def test_a_million_gpus_need_replicas_that_go_on() -> None:
    failures = catalog.entry("failures", "llama3-h100")
    rate = sum(c.rate for c in failures.causes.values() if c.per == "gpu") * 1e6
    replica = failures.recovery.model_copy(update={"mode": "replica", "regroup": 30.0})
    whole = float(goodput.outage(failures.recovery, 1_000_000, 8000))
    alone = float(goodput.outage(replica, 1_000_000, 8000))
    assert goodput.renewal_goodput(rate, 60.0, 1.0, whole) < 0.01
    assert goodput.replica_goodput(rate, 60.0, 1.0, alone) > 0.7
