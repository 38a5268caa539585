"""Dice, repairs and the account of time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.faults.goodput import optimum_interval, renewal_goodput
from opencolossus.faults.process import infant_factor, strike
from opencolossus.faults.repair import back_in_service, out_of_service
from opencolossus.faults.timeline import Interruptions, account
from opencolossus.specs import catalog
from opencolossus.specs.scales import DAY

LLAMA = catalog.entry("failures", "llama3-h100")


def test_llama_3_is_struck_as_often_as_it_was() -> None:
    # 419 unplanned interruptions in 54 days on 16,384 GPUs (arXiv 2407.21783, table 5).
    rates = np.array([[c.rate * 16_384 for c in LLAMA.causes.values() if c.per == "gpu"]])
    rates = np.repeat(rates, 54 * 24, axis=0)
    counts = [strike(rates, np.random.default_rng(seed)).time.size for seed in range(200)]
    assert np.mean(counts) == pytest.approx(419, abs=4 * 419**0.5 / 200**0.5)
    assert np.std(counts) == pytest.approx(419**0.5, rel=0.15)


def test_llama_3_is_struck_by_what_struck_it() -> None:
    # Same table: GPU parts 268/419 = 64 %, network 8.4 % (10.0 % with NICs); within 5 points.
    unplanned = {k: c for k, c in LLAMA.causes.items() if c.per == "gpu"}
    total = sum(c.rate for c in unplanned.values())
    share = {
        group: sum(c.rate for c in unplanned.values() if c.group == group) / total
        for group in ("gpu", "network")
    }
    assert share["gpu"] == pytest.approx(268 / 419, abs=0.05)
    assert share["network"] == pytest.approx(0.100, abs=0.05)


def test_later_rates_do_not_change_earlier_failures() -> None:
    low = np.full((1000, 3), 1e-4)
    high = low.copy()
    high[600:] *= 10
    one, two = (strike(r, np.random.default_rng(7)) for r in (low, high))
    early = [s.time < 600 * 3600 for s in (one, two)]
    assert two.time.size > one.time.size
    np.testing.assert_array_equal(one.time[early[0]], two.time[early[1]])
    np.testing.assert_array_equal(one.cause[early[0]], two.cause[early[1]])


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    mttf=st.floats(200, 1e6),
    down=st.floats(0, 5000),
    interval=st.floats(10, 1e5),
    write=st.floats(0, 500),
    planned=st.floats(0, 1),
)
def test_every_second_is_accounted_for_once(
    seed: int, mttf: float, down: float, interval: float, write: float, planned: float
) -> None:
    generator = np.random.default_rng(seed)
    strikes = strike(np.full((100, 2), 0.5 / mttf), generator)
    n = strikes.time.size
    stops = Interruptions(
        time=strikes.time,
        down=generator.random(n) * down,
        interval=np.full(n, interval),
        write=np.full(n, write),
        kept=generator.random(n) < planned,
        group=strikes.cause,
    )
    found = account(stops, np.arange(101) * 3600.0, 2)
    parts = np.vstack([found.work, found.checkpoint, found.rework, found.down])
    assert (parts >= -1e-6).all()
    np.testing.assert_allclose(parts.sum(axis=0), 3600, atol=1e-5)


@pytest.mark.parametrize(("mttf", "write", "restart"), [(3600.0, 10.0, 300.0), (1e4, 60.0, 600.0)])
def test_dice_and_closed_form_agree(mttf: float, write: float, restart: float) -> None:
    hours = 40_000
    interval = float(optimum_interval(write, mttf))
    strikes = strike(np.full((hours, 1), 1 / mttf), np.random.default_rng(1))
    n = strikes.time.size
    stops = Interruptions(
        strikes.time,
        np.full(n, restart),
        np.full(n, interval),
        np.full(n, write),
        np.zeros(n, dtype=bool),
        strikes.cause,
    )
    found = account(stops, np.arange(hours + 1) * 3600.0, 1)
    ettr = found.work.sum() / (hours * 3600)
    expected = float(renewal_goodput(1 / mttf, interval, write, restart))
    spread = 4 * (restart + interval) / mttf / n**0.5
    assert ettr == pytest.approx(expected, abs=spread)


def test_the_account_does_not_depend_on_the_bins() -> None:
    strikes = strike(np.full((200, 1), 2e-4), np.random.default_rng(3))
    n = strikes.time.size
    ones = np.ones(n)
    stops = Interruptions(strikes.time, 500 * ones, 900 * ones, 20 * ones, ones < 0, strikes.cause)
    fine = account(stops, np.arange(0, 200 * 3600 + 1, 60.0), 1)
    coarse = account(stops, np.arange(0, 200 * 3600 + 1, 3600.0), 1)
    np.testing.assert_allclose(fine.work.reshape(-1, 60).sum(axis=1), coarse.work, atol=1e-6)


def test_one_failure_by_hand() -> None:
    # Cycles of 100 s work and 10 s writing; a failure at 250 s ends the third: 200 s of work,
    # 20 s of writing, 30 s of rework; 70 s down; then 680 s with cycles of the same kind.
    stops = Interruptions(
        np.array([250.0]),
        np.array([70.0]),
        np.array([100.0]),
        np.array([10.0]),
        np.array([False]),
        np.array([0]),
    )
    found = account(stops, np.array([0.0, 320.0, 1000.0]), 1)
    np.testing.assert_allclose(found.work, [200, 680 * 100 / 110])
    np.testing.assert_allclose(found.checkpoint, [20, 680 * 10 / 110])
    np.testing.assert_allclose(found.rework, [30, 0])
    np.testing.assert_allclose(found.down, [[70, 0]])


def test_repairs_wait_for_crews() -> None:
    failed, work = np.array([0.0, 1.0, 2.0, 3.0]), np.array([10.0, 10.0, 0.0, 10.0])
    np.testing.assert_allclose(back_in_service(failed, work, None), [10, 11, 2, 13])
    np.testing.assert_allclose(back_in_service(failed, work, 1), [10, 20, 2, 30])


def test_servers_in_repair_follow_littles_law() -> None:
    rate, repair, hours = 2e-3, 2 * DAY, 20_000
    generator = np.random.default_rng(5)
    failed = strike(np.full((hours, 1), rate), generator).time
    back = back_in_service(failed, generator.exponential(repair, failed.size), None)
    nodes = np.ones(failed.size, dtype=np.intp)
    out = out_of_service(failed, back, nodes, np.arange(500, hours) * 3600.0)
    assert out.mean() == pytest.approx(rate * repair, rel=0.05)
    assert out.min() >= 0


def test_infants_settle() -> None:
    found = infant_factor(np.array([-1.0, 0.0, 30 * DAY, 1e12]), 3.0, 30 * DAY)
    np.testing.assert_allclose(found, [0, 3, 1 + 2 / np.e, 1])
