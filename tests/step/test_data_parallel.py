"""What replicas exchange: in full where every rank keeps its weights, under compute with FSDP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opencolossus.step import data_parallel, law
from opencolossus.step.collectives import gather_time
from opencolossus.step.machine import Code, Machine
from opencolossus.step.memory import local_weights
from opencolossus.step.shape import Shape
from tests.step.conftest import layouts


def exposed(shape: Shape, machine: Machine, code: Code, **changes: object) -> float:
    """Seconds of a step in which replicas' messages are seen."""
    return float(law.price(shape, machine, code, layouts(**changes))[0].data[0])


def test_without_sharded_weights_all_of_it_is_seen(llama: Shape, h100: Machine, nemo: Code) -> None:
    """Gradients reduced and weights gathered once, however much compute there is."""
    these = layouts(tensor=8, data=64, batch=512)
    dense, _ = local_weights(llama, these)
    share = np.asarray(8.0)
    once = [gather_time(h100, these.replicas, share, dense * width) for width in (nemo.gradient, 2)]
    found = exposed(llama, h100, nemo, tensor=8, data=64, batch=512)
    assert found == pytest.approx(float(sum(once)[0]))
    assert found == pytest.approx(exposed(llama, h100, nemo, tensor=8, data=64, batch=4096))


def test_fsdp_hides_most_but_slows_what_hides_it(llama: Shape, h100: Machine, nemo: Code) -> None:
    """Seen is less than all of it, and more than nothing, even where all would fit."""
    few = exposed(llama, h100, nemo, data=64, batch=64, zero=3)
    many = exposed(llama, h100, nemo, data=64, batch=512, micro_batch=8, zero=3)
    alone = exposed(
        llama,
        h100,
        replace(nemo, overlap_gradients=np.asarray(0.0), overlap_weights=np.asarray(0.0)),
        data=64,
        batch=64,
        zero=3,
    )
    assert 0 < many < few < alone


def test_a_slow_network_takes_less_of_the_memory(h100: Machine) -> None:
    """While as many bytes arrive, less is lost to them in a second, and not more in all."""
    size = np.asarray(1e9)
    seconds = np.array([0.002, 0.02, 0.2])
    taken = data_parallel._taken(h100, size, seconds)
    assert np.all(np.diff(taken) < 0)
    assert taken[-1] > data_parallel.CHANNELS / float(h100.units)
    beyond = (taken - data_parallel.CHANNELS / h100.units) * seconds
    assert beyond[1] == pytest.approx(beyond[2])


def test_adapters_beside_all_layers_cost_more(llama: Shape, h100: Machine, nemo: Code) -> None:
    times = [
        float(
            law.price(
                replace(llama, trained=np.asarray(0.002), adapted=np.asarray(adapted)),
                h100,
                nemo,
                layouts(tensor=8, batch=8),
            )[0].time[0]
        )
        for adapted in (0.0, 1.0)
    ]
    assert times[0] < times[1] < 1.1 * times[0]
