"""Goodput and deadlines against dice."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest

from opencolossus.plan import survive
from opencolossus.plan.plan import Interval
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster
from tests.plan.conftest import cluster

DAY = 86400.0


def played(rate: float, interval: float, write: float, restart: float, total: float) -> float:
    """Share of ``total`` s that is kept: work segment by segment, failures at any moment."""
    dice = np.random.default_rng(7)
    now = kept = 0.0
    while now < total:
        left = dice.exponential(1 / rate)
        segments = math.floor(left / (interval + write))
        kept += segments * interval
        now += left
        again = dice.exponential(1 / rate)
        while again < restart:  # struck while coming back
            now += again
            again = dice.exponential(1 / rate)
        now += restart
    return kept / now


@pytest.mark.parametrize("gpus", [1024, 16384, 131072])
def test_goodput_is_what_dice_give(gpus: int) -> None:
    made = cluster(main=("hgx-h100", gpus))
    share, found = survive.survival(made, made.pools["main"], gpus, 405e9)
    rate = 1 / found.mttf
    dice = played(
        rate, found.checkpoint_interval, found.checkpoint_write, found.restart, 20_000 / rate
    )
    assert share == pytest.approx(dice, abs=0.01)


def test_llama3_rates_are_told_back() -> None:
    """419 unplanned interruptions in 54 days on 16,384 H100 (arXiv 2407.21783)."""
    made = cluster(main=("hgx-h100", 16384))
    share, found = survive.survival(made, made.pools["main"], 16384, 405e9)
    assert 54 * DAY / found.mttf == pytest.approx(419, rel=0.01)
    assert share > 0.9  # "more than 90 % effective training time"


def test_checkpoints_never_come_more_often_than_steps() -> None:
    made = cluster(main=("hgx-h100", 98304))
    pool = made.pools["main"]
    _, free = survive.survival(made, pool, 98304, 1e9)
    _, held = survive.survival(made, pool, 98304, 1e9, step_time=10 * free.checkpoint_interval)
    assert held.checkpoint_interval == pytest.approx(10 * free.checkpoint_interval)


def replicas_that_go_on() -> Cluster:
    failures = catalog.entry("failures", "llama3-h100")
    recovery = failures.recovery.model_copy(update={"mode": "replica"})
    made = cluster(main=("hgx-h100", 131072))
    return made.model_copy(update={"failures": failures.model_copy(update={"recovery": recovery})})


def test_replicas_that_go_on_lose_less() -> None:
    made = replicas_that_go_on()
    pool = made.pools["main"]
    alone, _ = survive.survival(made, pool, 131072, 405e9, replicas=512)
    bare = made.model_copy(update={"failures": catalog.entry("failures", "llama3-h100")})
    whole, _ = survive.survival(bare, pool, 131072, 405e9, replicas=512)
    assert alone > whole + 0.05


@pytest.mark.parametrize("room", [60, 90, 100, 110, 150])
def test_the_chance_of_a_deadline_is_what_dice_give(room: int) -> None:
    """A step time of log-normal error, and interruptions that come by chance."""
    days, goodput, step = 100.0, 0.85, 10.0
    made = cluster(main=("hgx-h100", 16384))
    _, found = survive.survival(made, made.pools["main"], 16384, 405e9)
    interval = Interval(low=step / 1.2, high=step * 1.2, nearest="", extrapolates=False)
    start = date(2025, 1, 1)
    due = date.fromordinal(start.toordinal() + room)
    told = survive.deadline(start, due, days, goodput, found, interval, step)
    assert told is not None
    dice = np.random.default_rng(3)
    error = np.exp(dice.normal(0, math.log(1.2) / 1.645, 200_000))
    events = days * DAY / found.mttf
    lost = days * (1 - goodput) * dice.poisson(events, 200_000) / events
    ends = days * goodput * error + lost * error
    assert told.probability == pytest.approx(float(np.mean(ends <= room)), abs=0.02)
