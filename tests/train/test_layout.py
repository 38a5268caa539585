"""Layouts that can and cannot be; groups that fit together."""

from __future__ import annotations

import pytest
import ranks
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Gpu, Node
from opencolossus.specs.run import Layout, Run
from opencolossus.train.parallel.check import check, nearest
from opencolossus.train.parallel.choose import choose
from opencolossus.train.parallel.groups import Place
from opencolossus.train.parallel.layout import Sizes, describe, fault, parse, sizes

MODEL = ranks.model("grok")
RUN = Run(tokens=1e6, batch=96 * 32, sequence=32, precision="fp32")
DESCRIPTION = Description(name="test", model=MODEL, run=RUN)


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
        ("pp=2,mb=96", 2, "1 micro-batches cannot fill 2 stages"),
        ("ep=4", 2, "ep 4 does not divide dp 2"),
        ("zero=3,shard=3", 4, "shard 3 does not divide the 4 ranks of dp x cp"),
        ("zero=3,shard=2,ep=4", 12, "shard 2 does not divide the 3 ranks that hold the same"),
        ("zero=3", 6, "zero 3 over 6 does not divide width 32"),
    ],
)
def test_an_impossible_layout_is_refused_with_its_reason(text, processes, said):
    with pytest.raises(UserError, match=said):
        check(parse(text), MODEL, RUN, processes)


def test_the_refusal_names_the_nearest_that_can():
    for asked, processes, near in (
        ("tp=4", 4, "tp=2"),
        ("pp=2,mb=96", 2, "pp=2,mb=48"),
        ("zero=3,shard=3", 4, "zero=3"),
        ("zero=3", 6, "tp=1"),
    ):
        with pytest.raises(UserError, match=f"the nearest that can: --layout {near}$"):
            check(parse(asked), MODEL, RUN, processes)


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
    layout = Layout(tensor_parallel=2, expert_parallel=4, zero=3, shard_group=2, recompute="full")
    assert parse(describe(layout)) == layout


def chosen(asked: str | None, processes: int, machine: Cluster | None = None) -> Layout:
    return choose(DESCRIPTION, asked, processes, machine)[0]


def machine_of(processes: int, link: float, memory: float = 8e9) -> Cluster:
    """Processes on CPUs of 100 GFLOP/s that exchange ``link`` B/s each."""
    gpu = Gpu(
        name="CPU of a test",
        memory=memory,
        memory_bandwidth=1e10,
        flops={"fp32": 1e11, "bf16": 1e11},
        tdp=50,
        idle_power=10,
    )
    node = Node(
        gpu=gpu,
        gpus=processes,
        scale_up_domain=processes,
        scale_up_bandwidth=link,
        nics=1,
        nic_bandwidth=link,
        host_power=50,
        host_idle_power=10,
        rated_power=200,
    )
    return Cluster(
        name="this machine",
        pools={"here": Pool(node=node, gpus=processes)},
        fabric=catalog.entry("fabrics", "none"),
    )


@pytest.mark.parametrize("processes", [2, 3, 4, 6, 8])
def test_the_planner_chooses_what_the_trainer_can_run(processes):
    layout = chosen(None, processes, machine_of(processes, 1e9))
    assert fault(layout, MODEL, RUN, processes) is None


def test_the_planner_spreads_what_one_process_cannot_hold():
    big = MODEL.model_copy(update={"width": 1024, "expert_feed_forward": 4096})
    states = 16 * big.parameters
    description = DESCRIPTION.model_copy(update={"model": big})
    machine = machine_of(4, 1e9, memory=1e9 + 0.45 * states)
    layout, why = choose(description, None, 4, machine)
    assert "planner" in why
    assert layout.zero == 3 or layout.tensor_parallel * layout.pipeline_parallel > 1


def test_what_fits_nowhere_falls_back_to_data_parallel_and_says_why():
    layout, why = choose(DESCRIPTION, None, 4, machine_of(4, 1e9, memory=1e6))
    assert sizes(layout, 4).data == 4
    assert "no layout of" in why


def test_a_micro_batch_that_nobody_named_fills_the_pipeline():
    layout = chosen("pp=4", 4)
    assert check(layout, MODEL, RUN, 4).pipeline == 4
    assert chosen("pp=2,mb=3", 2).micro_batch == 3
