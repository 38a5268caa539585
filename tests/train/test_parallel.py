"""Every layout computes what one process computes: real ranks over gloo, in fp32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import ranks
import torch
from torch.distributed.fsdp import FSDPModule
from torch.testing import assert_close

from opencolossus.grok.model import Grok
from opencolossus.specs import catalog
from opencolossus.specs.run import Layout
from opencolossus.train.parallel import apply, collectives, gradients
from opencolossus.train.parallel import groups as grouping
from opencolossus.train.parallel.layout import sizes
from opencolossus.train.parallel.parts import parts

AXES: dict[str, dict[str, Any]] = {
    "replicas": {"zero": 0},
    "fsdp": {"zero": 3},
    "tp": {"tensor_parallel": 2},
    "pp": {"pipeline_parallel": 2},
    "cp": {"context_parallel": 2},
    "ep": {"expert_parallel": 2},
}


def layout(**fields: Any) -> Layout:
    return Layout(**{"micro_batch": 2, "zero": 0} | fields)


ALONE = {name: layout(**fields) for name, fields in AXES.items()} | {
    "zero 1": layout(zero=1),
    "zero 2": layout(zero=2),
    "ep with fsdp": layout(expert_parallel=2, zero=3),
    "interleaved": layout(pipeline_parallel=2, virtual_stages=2),
    "full recompute": layout(recompute="full", zero=3),
    "selective recompute": layout(recompute="selective", zero=3),
    "cp with selective recompute": layout(recompute="selective", context_parallel=2),
    "tp with full recompute": layout(recompute="full", tensor_parallel=2),
    "pp with full recompute": layout(recompute="full", pipeline_parallel=2),
}
"""On two processes."""
PAIRS = {
    f"{a}+{b}": layout(**AXES[a] | AXES[b])
    for a, b in combinations(AXES, 2)
    if (a, b) != ("replicas", "fsdp")
}
FOUR = PAIRS | {
    "replicas+fsdp": layout(zero=3, shard_group=2),  # HSDP
    "replicas+zero 1": layout(zero=1, shard_group=2),
    "replicas+zero 2": layout(zero=2, shard_group=2),
    "replicas+fsdp+ep": layout(zero=3, shard_group=2, expert_parallel=2),
    "zero 1": layout(zero=1),
    "zero 1+tp": layout(zero=1, tensor_parallel=2),
    "zero 1+pp": layout(zero=1, pipeline_parallel=2),
    "zero 2+pp": layout(zero=2, pipeline_parallel=2),
    "zero 2+cp": layout(zero=2, context_parallel=2),
    "zero 1+ep": layout(zero=1, expert_parallel=2),
    "zero 2+ep": layout(zero=2, expert_parallel=4),
    "fsdp+interleaved": layout(zero=3, pipeline_parallel=2, virtual_stages=2),
    "zero 2+interleaved": layout(zero=2, pipeline_parallel=2, virtual_stages=2),
    "tp+interleaved": layout(tensor_parallel=2, pipeline_parallel=2, virtual_stages=2),
    "four stages": layout(pipeline_parallel=4),
}
"""On four processes."""
KINDS = {
    "dense": ("replicas", "fsdp", "zero 1", "tp", "pp", "cp", "selective recompute"),
    "gpt": ("fsdp", "zero 1", "tp", "pp", "cp"),
    "grok": tuple(ALONE),
}
MOVES = (
    ("fsdp", "tp"),
    ("tp", "pp"),
    ("pp", "ep"),
    ("ep", "cp"),
    ("cp", "replicas"),
    ("replicas", "fsdp"),
    ("interleaved", "zero 1"),
    ("zero 1", "zero 2"),
    ("zero 2", "ep with fsdp"),
    ("ep with fsdp", "interleaved"),
)
"""Saved on the first, loaded on the second; together they leave and enter every kind."""
FAR_MOVES = (
    ("replicas+fsdp", "tp+pp"),
    ("tp+pp", "zero 1"),
    ("zero 1", "fsdp+ep"),
    ("fsdp+ep", "replicas+fsdp+ep"),
    ("replicas+fsdp+ep", "tp+cp"),
    ("tp+cp", "fsdp+interleaved"),
    ("fsdp+interleaved", "tp+ep"),
    ("tp+ep", "replicas+fsdp"),
)
"""The same on four processes."""


def unsummed(x: torch.Tensor, dim: int, group: grouping.Group) -> torch.Tensor:
    return collectives.part(x, dim, group)


def unsorted(theirs_RE: torch.Tensor) -> torch.Tensor:
    return torch.arange(int(theirs_RE.sum()))


def alone(x: torch.Tensor, groups: grouping.Groups) -> torch.Tensor:
    return x


def nothing(*_: Any) -> None:
    """Do nothing."""


def unjoined(x: torch.Tensor, dim: int, group: grouping.Group) -> torch.Tensor:
    return torch.cat([x] * group.size, dim)


BROKEN: dict[str, tuple[str, Callable[[], Any]]] = {
    "sums of tensor-parallel products left out": (
        "tp",
        lambda: patch.object(apply, "scatter_sum", unsummed),
    ),
    "rows of experts not sorted": ("ep", lambda: patch.object(apply, "_by_expert", unsorted)),
    "keys of other ranks missing": ("cp", lambda: patch.object(apply, "gather", unjoined)),
    "balance of a part of the sequence": (
        "cp",
        lambda: patch.object(apply, "_sum_over_sequence", alone),
    ),
    "gradients of replicas not summed": (
        "replicas",
        lambda: patch.object(gradients, "_sum", nothing),
    ),
    "gradients averaged over shares": (
        "fsdp",
        lambda: patch.object(FSDPModule, "set_gradient_divide_factor", nothing),
    ),
    "gradients of a tied embedding not summed": (
        "pp",
        lambda: patch.object(gradients, "TIED", "none"),
    ),
}
"""Mistakes that the comparison must notice, each in one layout."""


STARTS: dict[str, tuple[dict[int, str | None], dict[int, int], str]] = {
    "another batch": (
        {0: None},
        {0: 8, 1: 16},
        "the description of rank 1 is not that of rank 0: run.batch is 256.0 there and 128.0 at "
        "rank 0; give every node the same",
    ),
    "another layout": (
        {0: "tp=2", 1: "pp=2"},
        {0: 8},
        "the command of rank 1 is not that of rank 0: --layout is pp=2 there and tp=2 at rank 0; "
        "give every node the same",
    ),
    "an impossible layout": (
        {0: "tp=4"},
        {0: 8},
        "layout tp=4,mb=8 on 2 processes: it needs a multiple of 4 processes; start 4 with "
        "torchrun, or lower a size; the nearest that can: --layout tp=2,mb=8",
    ),
    "a layout of the description's own": (
        {0: "tp=2,mb=2"},
        {0: 8},
        "layout of 2 processes: tp=2,mb=2 (as asked for)",
    ),
    "no layout": ({0: None}, {0: 8}, "the planner's choice)"),
}
"""Layouts and batches that ranks ask for, and the sentence that both then say."""
COMPILED = ("fsdp", "tp")
"""Layouts in which blocks are compiled too."""
ROUNDED = ("replicas", "zero 1", "fsdp", "pp", "interleaved", "ep")
"""Layouts whose products are those of one process, and so round alike in bf16."""
HALVES = ("fsdp", "zero 1", "tp", "pp")
"""Layouts in which each of two processes holds half of a network."""


def groups_of(wanted: Layout, processes: int) -> grouping.Groups:
    return grouping.build(sizes(wanted, processes), torch.distributed.get_rank())


def two(processes: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, names in KINDS.items():
        for name in names:
            groups = groups_of(ALONE[name], processes)
            found[f"{kind}:{name}"] = ranks.observe(kind, ALONE[name], groups)
    for mistake, (name, broken) in BROKEN.items():
        with broken():
            groups = groups_of(ALONE[name], processes)
            found[mistake] = ranks.observe("grok", ALONE[name], groups)
    for name, (asked, batch, _) in STARTS.items():
        found[name] = ranks.started(asked, batch, processes)
    for name in COMPILED:
        groups = groups_of(ALONE[name], processes)
        found[f"compiled:{name}"] = ranks.compiled("dense", ALONE[name], groups)
    for name in ROUNDED:
        found[f"rounded:{name}"] = ranks.rounded(ALONE[name], groups_of(ALONE[name], processes))
    for name in HALVES:
        found[f"memory:{name}"] = ranks.memory_of(ALONE[name], processes)
    return found | moved(MOVES, ALONE, processes, folder)


def four(processes: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: ranks.observe("grok", wanted, groups_of(wanted, processes))
        for name, wanted in FOUR.items()
    }
    return found | moved(FAR_MOVES, FOUR, processes, folder)


def moved(
    moves: tuple[tuple[str, str], ...], known: dict[str, Layout], processes: int, folder: Path
) -> dict[str, Any]:
    return {
        f"{before}->{after}": ranks.save_and_load(
            "grok", known[before], known[after], processes, folder / f"{before}-{after}"
        )
        for before, after in moves
    }


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {kind: ranks.observe(kind, ALONE["replicas"], grouping.alone()) for kind in KINDS}


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
        assert seen["held_out"] == pytest.approx(reference["held_out"], rel=1e-6)
        assert_close(seen["logits"], reference["logits"], **near)
        for layer, load in seen["loads"].items():
            assert_close(load, reference["loads"][layer], **near)
    agree_in(("gradients", "moved", "moved by adamw"), found, reference)


def agree_in(
    kinds: tuple[str, ...], found: list[dict[str, Any]], reference: dict[str, Any]
) -> None:
    """Each rank has a part of the same tensors, and together they have all of them."""
    near = {"atol": 1e-5, "rtol": 1e-5}
    for what in kinds:
        for name, (_, whole) in reference[what].items():
            seen_of_it = torch.zeros_like(whole, dtype=torch.bool)
            for where, value in (seen[what][name] for seen in found if name in seen[what]):
                assert_close(value, whole[where], **near, msg=lambda m, n=name: f"{n}: {m}")
                seen_of_it[where] = True
            assert seen_of_it.all(), name
        assert set().union(*(seen[what] for seen in found)) == set(reference[what])


def test_no_pair_is_left_out():
    named = {frozenset(name.split("+")) for name in FOUR}
    assert {frozenset(pair) for pair in combinations(AXES, 2)} <= named


@pytest.mark.parametrize("name", [f"{kind}:{name}" for kind in KINDS for name in KINDS[kind]])
def test_two_processes_equal_one(one, on_two, name):
    agree([seen[name] for seen in on_two], one[name.split(":")[0]])


@pytest.mark.parametrize("name", FOUR)
def test_four_processes_equal_one(one, on_four, name):
    agree([seen[name] for seen in on_four], one["grok"])


@pytest.mark.parametrize(
    ("name", "ways"), [("zero 1", 4), ("replicas+zero 2", 2), ("replicas+fsdp", 2), ("fsdp+pp", 2)]
)
def test_weights_and_states_are_shared(one, on_four, name, ways):
    """All but norms, routers and their states: 5 % of the numbers of this small network."""
    stages = FOUR[name].pipeline_parallel
    for what in ("held", "states"):
        most = max(seen[name][what] for seen in on_four)
        assert most < (1.15 if stages == 1 else 1.7) * one["grok"][what] / (ways * stages)


@pytest.mark.parametrize("name", STARTS)
def test_processes_agree_or_say_in_what_they_differ(on_two, name):
    sentence = STARTS[name][2]
    assert on_two[0][name] == on_two[1][name]
    assert on_two[0][name].endswith(sentence)
    assert "\n" not in on_two[0][name]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_blocks_equal_one_process(one, on_two, name):
    found = [seen[f"compiled:{name}"] for seen in on_two]
    assert all(seen["loss"] == pytest.approx(one["dense"]["loss"], rel=1e-6) for seen in found)
    agree_in(("gradients",), found, one["dense"])


@pytest.mark.parametrize("name", ROUNDED)
def test_layouts_round_alike(on_two, name):
    """FSDP rounded rotary tables and router losses to bf16, which nothing in fp32 shows."""
    torch.set_num_threads(1)
    wanted = ranks.rounded(ALONE["replicas"], grouping.alone())
    for seen in on_two:
        assert seen[f"rounded:{name}"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", HALVES)
def test_a_process_never_holds_more_than_its_part(on_two, name):
    """Half of the weights, one whole weight, and what the allocator rounds up."""
    weights = 4 * ranks.large().parameters
    for seen in on_two:
        assert 0.45 * weights < seen[f"memory:{name}"] < 0.85 * weights


def test_grok_1_is_laid_out_without_its_memory():
    """All 315 billion weights on the meta device: 1.3 TB in fp32."""
    model = catalog.entry("models", "grok-1")
    four = Layout(pipeline_parallel=4)
    place = grouping.Place(pipeline=1, data=0, context=0, tensor=0)
    groups = replace(grouping.alone(), place=place)
    found: list[Grok] = []
    grown = ranks.growth(lambda: found.extend(parts(model, four, groups)))
    assert model.parameters > 314e9
    assert list(found[0].blocks) == [str(i) for i in range(16, 32)]
    assert sum(p.numel() for p in found[0].parameters()) > 0.24 * model.parameters
    assert all(p.is_meta for p in found[0].parameters())
    assert grown < 100e6


def test_what_is_gathered_and_summed_in_a_step(on_two):
    """Two micro-batches of 4 blocks, 3 of them with experts of their own, and the ends: 8 units."""
    names = ("zero 1", "zero 2", "fsdp")
    counts = {name: on_two[0][f"grok:{name}"]["messages"] for name in names}
    assert counts["zero 1"] == (8, 8)
    assert counts["zero 2"] == (8, 16)
    assert counts["fsdp"] == (16 + 2 * 7, 16)  # the ends' weights stay until the backward pass


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_is_noticed(one, on_two, mistake):
    with pytest.raises(AssertionError):
        agree([seen[mistake] for seen in on_two], one["grok"])


@pytest.mark.parametrize(("before", "after"), MOVES)
def test_what_one_layout_saves_another_goes_on_with(one, on_two, before, after):
    for seen in on_two:
        assert seen[f"{before}->{after}"] == pytest.approx(one["grok"]["next"], rel=1e-5)


@pytest.mark.parametrize(("before", "after"), FAR_MOVES)
def test_four_processes_go_on_with_another_layout(one, on_four, before, after):
    for seen in on_four:
        assert seen[f"{before}->{after}"] == pytest.approx(one["grok"]["next"], rel=1e-5)
