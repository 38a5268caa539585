"""Collectives against a step-by-step simulation and against published bus bandwidths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.plan import machines
from opencolossus.specs import calibration, catalog
from opencolossus.step import collectives
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape
from tests.step.conftest import layouts

H200_SWEEP = {
    2**15: 1.4e9,
    2**20: 40e9,
    2**22: 107e9,
    2**24: 220e9,
    2**26: 347e9,
    2**28: 436e9,
    2**30: 464e9,
    2**34: 482e9,
}
"""Bus bandwidth of an all-reduce on 8 H200 by message size (stas00/ml-engineering, network)."""


def ring_all_reduce(values: list[np.ndarray], bandwidth: float, hop: float) -> float:
    """Play a ring all-reduce chunk by chunk, check the sums, return the seconds it took."""
    ranks = len(values)
    chunks = [list(np.array_split(v.astype(float), ranks)) for v in values]
    total, clock = sum(values), 0.0
    for step in range(2 * (ranks - 1)):
        sent = []
        for rank in range(ranks):
            index = (
                (rank - step) % ranks
                if step < ranks - 1
                else (rank + 1 - (step - ranks + 1)) % ranks
            )
            sent.append((rank, index, chunks[rank][index].copy()))
        for rank, index, data in sent:
            target = (rank + 1) % ranks
            if step < ranks - 1:
                chunks[target][index] = chunks[target][index] + data
            else:
                chunks[target][index] = data
        clock += hop + max(data.nbytes for _, _, data in sent) / bandwidth
    for rank in range(ranks):
        np.testing.assert_allclose(np.concatenate(chunks[rank]), total)
    return clock


@settings(max_examples=20, deadline=None)
@given(ranks=st.integers(2, 9), per=st.integers(1, 50))
def test_ring_takes_what_its_simulation_takes(ranks: int, per: int) -> None:
    size = 8.0 * ranks * per
    values = [np.arange(ranks * per) * (i + 1.0) for i in range(ranks)]
    hop, bandwidth = 3e-6, 1e8
    played = ring_all_reduce(values, bandwidth, hop)
    factor = float(collectives.ring_factor(np.asarray(float(ranks))))
    assert 2 * factor * size / bandwidth + 2 * (ranks - 1) * hop == pytest.approx(played, rel=1e-9)


def _h200() -> Machine:
    node, fabric = catalog.entry("nodes", "hgx-h200"), catalog.entry("fabrics", "quantum-2-ndr")
    return machines.machine(node, fabric, "bf16", calibration.shipped())


@pytest.mark.parametrize("size", list(H200_SWEEP))
def test_all_reduce_in_a_server_against_measured_bus_bandwidth(size: int) -> None:
    seconds = collectives.all_reduce_up(_h200(), np.asarray(8.0), np.asarray(float(size)))
    busbw = 2 * 7 / 8 * size / float(seconds)
    assert busbw == pytest.approx(H200_SWEEP[size], rel=0.15)


def test_large_messages_reach_the_published_bandwidths() -> None:
    """8 H100: ring 367 GB/s, NVLink SHARP 480 GB/s."""
    size, eight = np.asarray(16e9), np.asarray(8.0)
    switch = 2 * 7 / 8 * size / collectives.all_reduce_up(_h200(), eight, size)
    ring_only = replace(_h200(), reduces=np.asarray(0.0))
    ring = 2 * 7 / 8 * size / collectives.all_reduce_up(ring_only, eight, size)
    assert float(ring) == pytest.approx(367e9, rel=0.05)
    assert float(switch) == pytest.approx(480e9, rel=0.05)


def test_what_comes_back_later_gains_nothing_from_the_switch() -> None:
    """Sequence parallelism reduce-scatters, and gathers elsewhere: each rank sends and then takes
    7/8 of the message, which no switch spares it."""
    size, eight = np.asarray(16e9), np.asarray(8.0)
    one_way = 2 * 7 / 8 * size / (_h200().link * _h200().link_reach)
    apart = collectives.all_reduce_up(_h200(), eight, size, np.asarray(1.0))
    assert float(apart) == pytest.approx(float(one_way), rel=0.01)
    assert float(apart) > float(collectives.all_reduce_up(_h200(), eight, size))


def test_one_nic_moves_what_nccl_measures(h100: Machine) -> None:
    """A 400 Gbit/s port carries 46-49 GB/s (nccl-tests 267 and 290)."""
    seconds = collectives.send_time(h100, np.asarray(8.0), np.asarray(10e9))
    assert 46e9 <= 10e9 / float(seconds) <= 49e9


def test_latency_grows_with_the_logarithm_of_ranks(h100: Machine) -> None:
    """A small all-gather over 100,000 ranks is milliseconds, not the seconds of a ring."""
    ranks = np.array([16.0, 1024.0, 98304.0])
    seconds = collectives.gather_time(h100, ranks, np.asarray(1.0), np.asarray(1e3))
    assert np.all(np.diff(seconds) > 0)
    assert seconds[2] < 5e-3


def test_context_is_passed_round_or_gathered(llama: Shape, h100: Machine, nemo: Code) -> None:
    """A ring hides behind long sequences; gathering costs the same whatever else is computed, and
    moves as much: keys and values of all ranks, forward and again backward, and their gradients."""
    these = layouts(tensor=8, context=4, data=1)
    shape, tokens = replace(llama, sequence=np.asarray(131072.0)), np.asarray(131072 / 4)
    gather = replace(nemo, gathers_context=np.asarray(1.0))
    idle, busy = np.asarray(0.0), np.asarray(10.0)

    def seconds(code: Code, core: np.ndarray) -> float:
        return float(collectives.kv_exchange(shape, h100, code, these, tokens, core)[0])

    assert seconds(nemo, busy) < 0.2 * seconds(nemo, idle)
    assert seconds(gather, busy) == seconds(gather, idle)
    size = 2 * 131072 * (8 / 8) * (128 + 128)
    moved = 3 * 3 / 4 * size / float(h100.nic)
    assert seconds(gather, idle) == pytest.approx(moved, rel=0.1)
    none = layouts(tensor=8, context=1, data=1)
    assert float(collectives.kv_exchange(shape, h100, gather, none, tokens, idle)[0]) == 0.0


@settings(max_examples=60, deadline=None)
@given(
    ranks=st.integers(1, 4096),
    size=st.floats(1e3, 1e11),
    gain=st.floats(1.01, 10.0),
)
def test_more_bandwidth_is_never_slower(ranks: int, size: float, gain: float) -> None:
    machine = _h200()
    for name in ("nic", "link"):
        faster = replace(machine, **{name: getattr(machine, name) * gain})
        args = (np.asarray(float(ranks)), np.asarray(1.0), np.asarray(size))
        before = float(collectives.gather_time(machine, *args))
        assert float(collectives.gather_time(faster, *args)) <= before * (1 + 1e-12)


@pytest.mark.parametrize("neighbours", [0.0, 1.0])
@pytest.mark.parametrize("groups", [1, 4, 8, 32])
def test_groups_that_a_token_meets_against_dealing_its_experts_out(
    deepseek: Shape, neighbours: float, groups: int
) -> None:
    """256 experts, 8 of a token: drawn by lot, or in a row as benchmarks' gates choose them."""
    r = np.random.default_rng(1)
    experts, top = int(deepseek.experts), int(deepseek.experts_per_token)
    if neighbours:
        chosen = (r.integers(experts, size=(20_000, 1)) + np.arange(top)) % experts
    else:
        chosen = r.integers(experts, size=(20_000, top))
    group = np.sort(chosen // (experts // groups), axis=1)
    counted = np.mean(1 + np.sum(np.diff(group, axis=1) > 0, axis=1))
    shape = replace(deepseek, neighbours=np.asarray(neighbours))
    assert float(collectives.met(shape, np.asarray(float(groups)))) == pytest.approx(
        counted, rel=0.03
    )
