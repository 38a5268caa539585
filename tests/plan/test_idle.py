"""GPUs that are there work, or a sentence says which limit keeps them dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opencolossus.plan import idle
from opencolossus.plan.search import search
from opencolossus.specs.load import load
from opencolossus.specs.run import Layout
from tests.plan.conftest import Make

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "day"), [("memphis", "2024-07-22"), ("doubling", "2024-11-15"), ("million", None)]
)
def test_examples_use_what_their_power_carries(name: str, day: str | None) -> None:
    plan = search(load(EXAMPLES / f"{name}.yaml").description)
    assert day is None or str(plan.day) == day
    assert plan.power.limit is not None
    used = max(plan.gpus / plan.available, plan.power.peak / plan.power.limit)
    assert used > 0.985
    if plan.gpus < 0.98 * plan.available:
        assert any("carry" in text for text in plan.advice)


@pytest.mark.parametrize("gpus", [96, 1000, 1336, 2968, 4088])
def test_numbers_of_gpus_that_are_no_power_of_two_are_used(make: Make, gpus: int) -> None:
    plan = search(make(gpus=gpus, batch=2**24), power_limit=1e9, detail=False)
    assert plan.gpus > 0.97 * gpus


def test_a_batch_that_is_too_small_is_named_with_one_that_is_not(make: Make) -> None:
    layout = Layout(tensor_parallel=8, pipeline_parallel=8, micro_batch=1)
    small = search(make(gpus=4096, batch=8192 * 40, layout=layout), power_limit=1e9)
    text = next(text for text in small.advice if "have no work" in text)
    assert small.gpus < 4096
    named = re.search(r"A batch of ([\d.]+)([KMB]) tokens", text)
    assert named is not None
    batch = float(named[1]) * {"K": 1e3, "M": 1e6, "B": 1e9}[named[2]]
    larger = search(make(gpus=4096, batch=batch, layout=layout), power_limit=1e9)
    assert larger.gpus == 4096
    assert larger.tokens_per_second > 1.2 * small.tokens_per_second
    assert any("Bi et al." in line for line in small.advice)


def test_leftovers_of_whole_replicas_are_named(make: Make) -> None:
    layout = Layout(tensor_parallel=8, pipeline_parallel=10)
    plan = search(make(gpus=1016, batch=2**24, layout=layout), power_limit=1e9)
    assert plan.gpus == 960
    assert any("replicas come in lots of 80 GPUs" in text for text in plan.advice)


def test_the_best_batch_is_that_of_the_paper() -> None:
    """DeepSeek LLM 7B: 2,304 sequences of 4,096 tokens over 2T tokens (Bi et al. 2024, table 2)."""
    assert idle.best_batch(6 * 6.9e9 * 2e12) == pytest.approx(2304 * 4096, rel=0.1)
