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


def test_the_host_waits_for_the_gpu_once_a_step(answers):
    """For the tokens, and with them for all that is told of them."""
    for number, kind in enumerate(answers["waits"]):
        # Top-k of 350 of 400 tokens needs them all in order, which is found out by a wait.
        expected = 2 if number == 4 else 1
        assert kind == [[expected] * 5] * 3, number
    # Each of four prompts is scored by a wait of its own, in the step that reads it.
    assert answers["echoed"] == [5, 1, 1, 1, 1]
    # In mixed company: the tokens, those that need all in order, and how likely a prompt was.
    assert set(answers["bf16"]["waits"]) <= {1, 2, 3}
