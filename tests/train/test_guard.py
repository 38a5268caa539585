"""Steps that must not be taken."""

from __future__ import annotations

import math

import pytest

from opencolossus.train.guard import LEAST, RUN_OF_BAD, Guard


@pytest.fixture
def calm() -> Guard:
    guard = Guard()
    for i in range(LEAST):
        assert guard.fault(3.0 + 0.1 * math.sin(i), 1.0 + 0.1 * math.cos(i)) is None
    return guard


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (3.0, math.inf), (math.inf, math.nan)])
def test_numbers_that_are_none_are_refused_from_the_first_step(loss, norm):
    guard = Guard()
    assert guard.fault(loss, norm) is not None
    assert guard.skipped == 1


def test_an_exploding_step_is_refused_and_named(calm):
    assert "gradient norm" in (calm.fault(3.0, 50.0) or "")
    assert "loss" in (calm.fault(30.0, 1.0) or "")
    assert calm.skipped == 2


def test_a_usual_step_and_a_sudden_improvement_are_taken(calm):
    assert calm.fault(3.05, 1.05) is None
    assert calm.fault(1.0, 0.1) is None


def test_a_norm_a_third_above_a_very_quiet_level_is_no_explosion():
    guard = Guard()
    for _ in range(LEAST):
        assert guard.fault(4.5, 0.155) is None
    assert guard.fault(4.6, 0.209) is None


def test_a_refused_step_does_not_become_the_usual(calm):
    for _ in range(5):
        assert calm.fault(3.0, 50.0) is not None
    assert calm.fault(3.0, 1.0) is None
    assert calm.in_a_row == 0


def test_a_run_of_bad_steps_asks_to_go_back(calm):
    for _ in range(RUN_OF_BAD):
        assert not calm.must_roll_back
        calm.fault(math.nan, 1.0)
    assert calm.must_roll_back


def test_the_memory_survives_a_checkpoint(calm):
    other = Guard()
    other.restore(calm.state())
    assert other == calm
