"""How often a run saves by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opencolossus.train import world
from opencolossus.train.interval import OFTEN, WORTH, save_interval


def test_checkpoints_that_cost_nothing_are_taken_every_minute():
    assert save_interval(0.01) == OFTEN


@given(st.floats(0.01, 100.0))
def test_on_one_server_they_cost_a_hundredth_of_the_time_at_most(stall):
    assert stall / save_interval(stall) <= max(WORTH, 1e-3) * (1 + 1e-9)


def test_a_large_cluster_saves_as_often_as_its_failures_ask(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    monkeypatch.setattr(world, "size", lambda: 100_000)
    # Llama 3 (2024): 419 unexpected interruptions in 54 days of 2,048 servers; 12,500 servers then
    # fail every half hour, and the optimum for 10 s is sqrt(2 x 10 x 1,800) = 190 s.
    assert 120 < save_interval(10.0) < 300
