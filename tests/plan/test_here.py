"""The machine at hand."""

from __future__ import annotations

from opencolossus.plan import here
from opencolossus.plan.search import search
from opencolossus.specs import catalog
from opencolossus.specs.document import Description
from opencolossus.specs.run import Run


def test_it_is_measured_and_plausible() -> None:
    node = here.cpu_node()
    assert 1e9 < node.gpu.flops["fp32"] < 1e14
    assert 1e9 < node.gpu.memory_bandwidth < 1e13
    assert node.gpu.memory > 2e8


def test_a_measured_rate_is_taken() -> None:
    assert here.cpu_node(123e9).gpu.flops["bf16"] == 123e9


def test_a_small_model_is_planned_without_site_and_cluster() -> None:
    description = Description(
        name="tiny",
        model=catalog.entry("models", "grok-tiny"),
        run=Run(tokens=1e6, batch=4096, sequence=256, precision="fp32"),
    )
    plan = search(description)
    assert plan.gpus == 1
    assert plan.day is None
    assert plan.step.bubble == 0
    assert plan.memory.total < plan.memory.limit
