"""Every layout computes what one process computes: real ranks over gloo, in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
from torch.testing import assert_close

from opencolossus.specs.run import Layout
from opencolossus.train.parallel import groups as grouping
from opencolossus.train.parallel.layout import sizes

REPLICAS = Layout(micro_batch=2, zero=0)
ALONE = {
    "replicas": REPLICAS,
    "fsdp": Layout(micro_batch=2, zero=3),
    "tp": Layout(micro_batch=2, tensor_parallel=2),
    "pp": Layout(micro_batch=2, pipeline_parallel=2),
    "cp": Layout(micro_batch=2, context_parallel=2),
    "ep": Layout(micro_batch=2, expert_parallel=2),
    "ep with fsdp": Layout(micro_batch=2, expert_parallel=2, zero=3),
    "interleaved": Layout(micro_batch=2, pipeline_parallel=2, virtual_stages=2),
    "recompute": Layout(micro_batch=2, recompute="full", zero=3),
}
"""On two processes."""
PAIRS = {
    "fsdp+tp": Layout(micro_batch=2, zero=3, tensor_parallel=2),
    "fsdp+pp": Layout(micro_batch=2, zero=3, pipeline_parallel=2),
    "fsdp+cp": Layout(micro_batch=2, zero=3, context_parallel=2),
    "fsdp+ep": Layout(micro_batch=2, zero=3, expert_parallel=2),
    "replicas+tp": Layout(micro_batch=2, tensor_parallel=2),
    "replicas+pp": Layout(micro_batch=2, pipeline_parallel=2),
    "replicas+cp": Layout(micro_batch=2, context_parallel=2),
    "replicas+ep": Layout(micro_batch=2, expert_parallel=2),
    "tp+pp": Layout(micro_batch=2, tensor_parallel=2, pipeline_parallel=2),
    "tp+cp": Layout(micro_batch=2, tensor_parallel=2, context_parallel=2),
    "tp+ep": Layout(micro_batch=2, tensor_parallel=2, expert_parallel=2),
    "pp+cp": Layout(micro_batch=2, pipeline_parallel=2, context_parallel=2),
    "pp+ep": Layout(micro_batch=2, pipeline_parallel=2, expert_parallel=2),
    "cp+ep": Layout(micro_batch=2, context_parallel=2, expert_parallel=2),
}
"""On four processes."""
KINDS = {"dense": ("replicas", "fsdp", "tp", "pp", "cp"), "grok": tuple(ALONE)}
MOVES = (
    ("fsdp", "tp"),
    ("tp", "pp"),
    ("pp", "ep"),
    ("ep", "cp"),
    ("cp", "replicas"),
    ("replicas", "fsdp"),
    ("interleaved", "fsdp"),
    ("tp", "ep"),
    ("pp", "ep with fsdp"),
)
"""Saved on the first, loaded on the second; together they leave and enter every kind."""


def two(processes: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, names in KINDS.items():
        for name in names:
            groups = grouping.build(sizes(ALONE[name], processes), torch.distributed.get_rank())
            found[f"{kind}:{name}"] = ranks.observe(kind, ALONE[name], groups)
    for before, after in MOVES:
        found[f"{before}->{after}"] = ranks.save_and_load(
            "grok", ALONE[before], ALONE[after], processes, folder / f"{before}-{after}"
        )
    return found


def four(processes: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, layout in PAIRS.items():
        groups = grouping.build(sizes(layout, processes), torch.distributed.get_rank())
        found[name] = ranks.observe("grok", layout, groups)
    return found


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {kind: ranks.observe(kind, REPLICAS, grouping.alone()) for kind in KINDS}


@pytest.fixture(scope="module")
def on_two(tmp_path_factory) -> list[dict[str, Any]]:
    return ranks.together(2, tmp_path_factory.mktemp("two"), two)


@pytest.fixture(scope="module")
def on_four(tmp_path_factory) -> list[dict[str, Any]]:
    return ranks.together(4, tmp_path_factory.mktemp("four"), four)


def agree(found: list[dict[str, Any]], reference: dict[str, Any]) -> None:
    """Each rank has only what is true, and together they have all of it."""
    near = {"atol": 1e-5, "rtol": 1e-5}
    for seen in found:
        assert seen["loss"] == pytest.approx(reference["loss"], rel=1e-6)
        assert seen["norm"] == pytest.approx(reference["norm"], rel=1e-5)
        assert seen["next"] == pytest.approx(reference["next"], rel=1e-5)
        assert seen["held_out"] == pytest.approx(reference["held_out"], rel=1e-6)
        if seen["logits"] is not None:
            assert_close(seen["logits"], reference["logits"], **near)
        for what in ("gradients", "moved", "loads"):
            for name, value in seen[what].items():
                assert_close(
                    value, reference[what][name], **near, msg=lambda m, n=name: f"{n}: {m}"
                )
    for what in ("gradients", "moved", "loads"):
        assert set().union(*(seen[what] for seen in found)) == set(reference[what])


@pytest.mark.parametrize("name", [f"{kind}:{name}" for kind in KINDS for name in KINDS[kind]])
def test_two_processes_equal_one(one, on_two, name):
    agree([seen[name] for seen in on_two], one[name.split(":")[0]])


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_on_four_processes_equals_one(one, on_four, name):
    agree([seen[name] for seen in on_four], one["grok"])


@pytest.mark.parametrize(("before", "after"), MOVES)
def test_what_one_layout_saves_another_goes_on_with(one, on_two, before, after):
    for seen in on_two:
        assert seen[f"{before}->{after}"] == pytest.approx(one["grok"]["next"], rel=1e-5)
