"""The learning rate over a run."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.specs.run import Schedule
from opencolossus.train.schedule import factor, progress

KINDS: tuple[Literal["cosine", "warmup-stable-decay", "constant"], ...] = (
    "cosine",
    "warmup-stable-decay",
    "constant",
)


@given(st.sampled_from(KINDS), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_the_rate_stays_between_nothing_and_the_highest(kind, warmup, decay, at):
    schedule = Schedule(kind=kind, warmup=warmup, decay=decay, final=0.1)
    assert 0.0 < factor(schedule, at) <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_is_highest_when_the_warm_up_ends(kind):
    assert factor(Schedule(kind=kind, warmup=0.1), 0.1) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["cosine", "warmup-stable-decay"])
def test_the_rate_ends_at_the_final_share(kind):
    assert factor(Schedule(kind=kind, final=0.07), 1.0) == pytest.approx(0.07)


def test_cosine_is_half_way_down_in_the_middle():
    assert factor(Schedule(warmup=0.0, final=0.0), 0.5) == pytest.approx(0.5)


def test_stable_means_stable():
    schedule = Schedule(kind="warmup-stable-decay", warmup=0.1, decay=0.2)
    assert factor(schedule, 0.2) == factor(schedule, 0.79) == 1.0


def test_a_limit_on_time_ends_the_schedule_too():
    assert progress(10, 100, elapsed=50.0, time_limit=100.0) == 0.5
    assert progress(90, 100, elapsed=50.0, time_limit=100.0) == 0.9
    assert progress(10, 100, elapsed=50.0, time_limit=None) == 0.1
