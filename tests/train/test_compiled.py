"""Compiled blocks compute what plain ones do; where compiling pays is decided here."""

from __future__ import annotations

from functools import partial

import pytest
import ranks
import torch
from torch.testing import assert_close

from opencolossus.grok import fused
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout, Optimiser, Run
from opencolossus.train import precision
from opencolossus.train.engine import Engine
from opencolossus.train.parallel import groups as grouping
from opencolossus.train.parallel import network
from opencolossus.train.parallel.compiled import compile_blocks
from opencolossus.train.parallel.setting import Setting

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MODEL = ranks.model("grok")
SHORT = Run(tokens=1e5, batch=2048, sequence=128)
LONG = Run(tokens=1e14, batch=2048, sequence=128)


def stepped(kind: str, layout: Layout, compiled: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and weights after a step."""
    torch._dynamo.reset()
    setting = Setting(CPU, torch.float32, layout, seed=3, compiled=compiled)
    engine = Engine(ranks.model(kind), setting, Optimiser(clip=0.1))
    sums = engine.gradients(ranks.own(ranks.rows(1), layout, grouping.alone()))
    engine.move(1.0)
    return sums.loss, {name: w.detach() for name, w in engine.weights.items()}


@pytest.mark.skipif(not fused.available(), reason="there is no C++ compiler")
@pytest.mark.parametrize(
    ("kind", "recompute", "backend"),
    [
        ("dense", "none", "inductor"),
        ("dense", "full", "aot_eager"),
        ("grok", "selective", "aot_eager"),
    ],
)
def test_compiled_blocks_equal_plain_ones(kind, recompute, backend, monkeypatch):
    monkeypatch.setattr(network, "compile_blocks", partial(compile_blocks, backend=backend))
    layout = Layout(micro_batch=4, recompute=recompute)
    torch._dynamo.utils.counters.clear()
    plain, plain_weights = stepped(kind, layout, compiled=False)
    assert not torch._dynamo.utils.counters["stats"]
    loss, weights = stepped(kind, layout, compiled=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert loss == pytest.approx(plain, rel=1e-6)
    for name, weight in weights.items():
        assert_close(weight, plain_weights[name], atol=1e-5, rtol=1e-5)


def test_other_loads_of_the_experts_compile_nothing_anew(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(network, "compile_blocks", partial(compile_blocks, backend="aot_eager"))
    layout = Layout(micro_batch=8)
    setting = Setting(CPU, torch.float32, layout, seed=3, compiled=True)
    engine = Engine(MODEL, setting, Optimiser())
    stats, graphs = torch._dynamo.utils.counters["stats"], []
    for seed in range(1, 5):
        engine.gradients(ranks.own(ranks.rows(seed), layout, grouping.alone()))
        engine.move(1.0)
        graphs.append(stats["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[1:] == [graphs[1]] * 3


@pytest.mark.parametrize(
    ("run", "device", "can", "found"),
    [
        (LONG, CPU, True, "functions"),
        (SHORT, CPU, True, "none"),
        (LONG, CPU, False, "none"),
        (LONG.model_copy(update={"time_limit": 60.0}), CPU, True, "none"),
        (SHORT, CUDA, True, "blocks"),
        (SHORT, CUDA, False, "none"),
        (SHORT.model_copy(update={"compile": "blocks"}), CPU, True, "blocks"),
        (LONG.model_copy(update={"compile": "none"}), CUDA, True, "none"),
    ],
)
def test_what_is_compiled_follows_from_device_and_length(monkeypatch, run, device, can, found):
    monkeypatch.setattr(precision, "_can_compile", lambda _: can)
    monkeypatch.setattr(precision.fused, "available", lambda: can)
    assert precision.compiles(run, MODEL, device) == found


def test_compiling_asked_for_in_vain_is_refused(monkeypatch):
    monkeypatch.setattr(precision, "_can_compile", lambda _: False)
    run = SHORT.model_copy(update={"compile": "blocks"})
    with pytest.raises(UserError, match="set it to none"):
        precision.compiles(run, MODEL, CPU)
