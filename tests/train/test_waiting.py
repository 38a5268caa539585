"""How long OpenMP's threads spin for their next work in a run, and who may say otherwise."""

import os

import pytest

from opencolossus.cli import train


@pytest.mark.parametrize(
    ("told", "policy", "spins"),
    [
        ({}, "PASSIVE", train.SPINS),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE", "7"),
        ({"OMP_WAIT_POLICY": "active"}, "active", None),
    ],
)
def test_threads_wait_briefly_unless_the_user_says_otherwise(monkeypatch, told, policy, spins):
    monkeypatch.setattr(os, "environ", dict(told))
    train._wait_briefly()
    assert os.environ["OMP_WAIT_POLICY"] == policy
    assert os.environ.get("GOMP_SPINCOUNT") == spins
