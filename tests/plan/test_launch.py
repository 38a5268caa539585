"""Plans as arguments for other programs."""

from __future__ import annotations

import itertools
import tomllib

import pytest

from opencolossus.plan.launch import arguments
from opencolossus.plan.search import search
from opencolossus.specs.errors import UserError
from tests.plan.conftest import Make


def test_megatron_gets_the_layout_and_the_shape(make: Make) -> None:
    description = make(model="mixtral-8x7b", gpus=64, batch=8192 * 256)
    plan = search(description, detail=False)
    words = arguments(plan, description, "megatron").replace("\\\n", " ").split()
    value = {a: b for a, b in itertools.pairwise(words) if a.startswith("--")}
    assert int(value["--tensor-model-parallel-size"]) == plan.layout.tensor_parallel
    assert int(value["--expert-model-parallel-size"]) == plan.layout.expert_parallel
    assert int(value["--num-experts"]) == 8
    assert int(value["--global-batch-size"]) * 8192 == plan.batch
    assert "--group-query-attention" in words


def test_torchtitan_gets_a_file_that_parses(make: Make) -> None:
    description = make(gpus=64)
    plan = search(description, detail=False)
    job = tomllib.loads(arguments(plan, description, "torchtitan"))
    degrees = job["parallelism"]
    product = (
        degrees["data_parallel_shard_degree"]
        * degrees["tensor_parallel_degree"]
        * degrees["context_parallel_degree"]
        * degrees["pipeline_parallel_degree"]
    )
    assert product == plan.gpus
    assert job["training"]["global_batch_size"] * 8192 == plan.batch


def test_unknown_targets_are_refused(make: Make) -> None:
    description = make(gpus=64)
    plan = search(description, detail=False)
    with pytest.raises(UserError, match="did you mean 'megatron'"):
        arguments(plan, description, "megatorn")
