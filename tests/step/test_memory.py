"""Bytes against independent counts: PyTorch's meta tensors, ZeRO's arithmetic, the literature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.specs import catalog
from opencolossus.step import law, memory
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape
from tests.step.conftest import layouts

torch = pytest.importorskip("torch")


def test_weights_are_those_of_the_network_on_meta(nemo: Code) -> None:
    """Weights in 16 bits of the built network, without allocating it."""
    from opencolossus.grok.model import Grok

    model = catalog.entry("models", "grok-mini")
    with torch.device("meta"):
        built = Grok(model)
    count = sum(p.numel() for p in built.parameters())
    held = memory.memory(Shape.of(model, 512), nemo, layouts(zero=0))
    assert float(held.weights[0]) == pytest.approx(2 * count, rel=0.005)


def test_states_are_zeros_arithmetic(llama: Shape, nemo: Code) -> None:
    """2 + 2 + 12 bytes per weight, sharded as the stage says (Rajbhandari et al. 2020, fig. 1)."""
    code = replace(nemo, gradient=np.asarray(2.0))
    those = layouts(data=np.full(4, 64.0), batch=np.full(4, 64.0), zero=np.arange(4.0))
    held = memory.memory(llama, code, those)
    weights = catalog.entry("models", "llama3-70b").parameters
    states = (held.weights + held.gradients + held.optimiser) / weights
    expected = [16, 4 + 12 / 64, 2 + 14 / 64, 16 / 64]
    np.testing.assert_allclose(states, expected, rtol=2e-3)


def test_activations_of_gpt3_are_korthikantis(nemo: Code) -> None:
    """34 s b h per layer with tensor and sequence parallelism split t ways (table 2)."""
    model = catalog.entry("models", "gpt3-175b")
    shape = Shape.of(model, 2048, dropout=1.0)
    code = replace(nemo, sequence_parallel=np.asarray(1.0), flash=np.asarray(1.0))
    held = memory.memory(shape, code, layouts(tensor=8, batch=1))
    logits = 6 * 2048 * 50257 / 8
    per_layer = (float(held.activations[0]) - logits) / 96
    assert per_layer == pytest.approx(34 * 2048 * 12288 / 8, rel=0.01)


def test_linear_layers_in_8_bits_keep_their_inputs_in_8(llama: Shape, nemo: Code) -> None:
    """Per token: a byte less for each input of a product (two of the width, one of the inner size)
    and a byte more for the output of attention, which it and the projection after it keep."""
    one = layouts(tensor=8, batch=1)
    code = replace(nemo, sequence_parallel=np.asarray(1.0))
    wide, low = (
        float(memory.memory(llama, replace(code, low=np.asarray(v)), one).activations[0])
        for v in (0.0, 1.0)
    )
    assert (wide - low) / (80 * 8192) == pytest.approx((2 * 8192 + 28672 - 8192) / 8)


def test_what_waits_in_the_hosts_memory_is_not_in_the_gpus(
    llama: Shape, h100: Machine, nemo: Code
) -> None:
    here, there = layouts(tensor=8), replace(layouts(tensor=8), offloaded=np.asarray([0.25]))
    logits = 6 * 8192 * 128256 / 8
    held = [float(memory.memory(llama, nemo, one).activations[0]) for one in (here, there)]
    assert held[1] - logits == pytest.approx(0.75 * (held[0] - logits))
    times = [float(law.price(llama, h100, nemo, one)[0].time[0]) for one in (here, there)]
    assert times[0] == times[1]


@settings(max_examples=40, deadline=None)
@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.sampled_from([1, 2, 4, 8]),
    micro=st.sampled_from([1, 2, 4]),
)
def test_more_splitting_never_needs_more(
    llama: Shape, nemo: Code, tensor: int, pipeline: int, micro: int
) -> None:
    def total(**changes: float) -> float:
        values = {
            "tensor": tensor,
            "pipeline": pipeline,
            "data": 16,
            "micro_batch": micro,
            "batch": 16 * micro * 32,
        }
        values.update(changes)
        return float(memory.memory(llama, nemo, layouts(**values)).total[0])

    base = total()
    assert total(zero=2) <= base
    assert total(zero=3, pipeline=1) <= total(zero=2, pipeline=1) * 1.2
    assert total(recompute=2) <= base
    assert total(micro_batch=2 * micro) >= base
    assert total(context=2) <= base


def test_runs_that_ran_fit() -> None:
    """At least 98 of 100 published runs that say what they recompute fit by the law."""
    from opencolossus.plan import accuracy, measured, rows
    from opencolossus.specs import calibration

    folder = rows.folder()
    table = measured.load(folder / "throughput.csv", folder / "platforms.yaml")
    share, over = accuracy.memory_fit(table, calibration.shipped())
    assert share >= 0.98, over
