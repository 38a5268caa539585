"""Layouts that can and cannot be; groups that fit together."""

from __future__ import annotations

import pytest
import ranks
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout, Run
from opencolossus.train.parallel.choose import choose
from opencolossus.train.parallel.groups import Place
from opencolossus.train.parallel.layout import Sizes, check, describe, fault, nearest, parse

MODEL = ranks.model("grok")
RUN = Run(tokens=1e6, batch=64 * 32, sequence=32)


@pytest.mark.parametrize(
    ("text", "processes", "said"),
    [
        ("tp=4", 4, "tp 4 does not divide kv_heads 2"),
        ("tp=3", 3, "tp 3 does not divide kv_heads 2"),
        ("tp=2", 3, "on 3 processes: it needs a multiple of 2 processes; start 4 with torchrun"),
        ("pp=8", 8, "pp x vs 8 exceeds layers 4"),
        ("ep=3", 3, "ep x tp 3 does not divide experts 4"),
        ("cp=64", 64, "cp x tp 64 does not divide run.sequence 32"),
        ("vs=2", 2, "vs needs pp of 2 or more"),
        ("pp=2,mb=64", 2, "1 micro-batches cannot fill 2 stages"),
        ("ep=4", 2, "ep 4 does not divide dp 2"),
    ],
)
def test_an_impossible_layout_is_refused_with_its_reason(text, processes, said):
    with pytest.raises(UserError, match=said):
        check(parse(text), MODEL, RUN, processes)


def test_the_refusal_names_the_nearest_that_can():
    with pytest.raises(UserError, match="the nearest that can: --layout tp=2"):
        check(parse("tp=4"), MODEL, RUN, 4)


@pytest.mark.parametrize("text", ["tq=2", "tp=0", "tp=two", "recompute=some", "tp"])
def test_a_layout_that_cannot_be_read_is_refused(text):
    with pytest.raises(UserError, match=r"--layout "):
        parse(text)


@given(
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_what_is_proposed_is_possible(processes, tp, cp, pp, ep):
    layout = Layout(
        tensor_parallel=tp, context_parallel=cp, pipeline_parallel=pp, expert_parallel=ep
    )
    found = nearest(layout, MODEL, RUN, processes)
    if found is not None:
        assert fault(found, MODEL, RUN, processes) is None
    if fault(layout, MODEL, RUN, processes) is None:
        assert found == layout


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_every_rank_has_a_place_of_its_own(pipeline, data, context, tensor):
    sizes = Sizes(pipeline, data, context, tensor, 1)
    places = {Place.of(rank, sizes) for rank in range(sizes.processes)}
    assert len(places) == sizes.processes
    assert {p.tensor for p in places} == set(range(tensor))
    assert {p.pipeline for p in places} == set(range(pipeline))


def test_what_is_described_reads_back():
    layout = Layout(tensor_parallel=2, expert_parallel=4, zero=3, recompute="full")
    assert parse(describe(layout)) == layout


def test_a_micro_batch_that_nobody_named_fills_the_pipeline():
    layout = choose(RUN, "pp=4", processes=4)
    assert check(layout, MODEL, RUN, 4).pipeline == 4
    assert choose(RUN, "pp=2,mb=3", processes=2).micro_batch == 3
