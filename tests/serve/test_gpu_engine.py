"""The serving engine on a GPU that is simulated, against the same code on the CPU.

The arithmetic is the CPU's; what is tested is that cache, penalties, sampling and log-probabilities
happen on the device, and that seeds choose the same tokens there (``simulated_gpu/device.cpp``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def answers(gpu_environment) -> dict[str, Any]:
    """What both engines said."""
    script = Path(__file__).with_name("gpu_engine.py")
    done = subprocess.run(
        [sys.executable, str(script)], env=gpu_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_answers_and_their_scores_are_those_of_the_cpu(answers):
    cpu, gpu, low = answers["cpu"], answers["gpu"], answers["bf16"]
    assert gpu["tokens"] == cpu["tokens"]
    assert len(gpu["tokens"]) == 15  # of sixteen, one was cancelled
    for request, scores in cpu["scores"].items():
        assert gpu["scores"][request] == pytest.approx(scores, abs=1e-4)
    # Rounded weights may choose otherwise; every answer still has its length.
    assert {i: len(said) for i, said in low["tokens"].items()} == {
        i: len(said) for i, said in cpu["tokens"].items()
    }
    # Eight rows sampled in three ways, some scored: a few waits a step, not one for each number.
    assert gpu["waits"] / gpu["steps"] < 40
