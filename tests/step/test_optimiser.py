"""Optimisers: Muon's products and states against counting and against the trainer's own code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from opencolossus.plan import machines
from opencolossus.specs import calibration, catalog
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Optimiser
from opencolossus.step import optimiser
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.memory import memory
from opencolossus.step.shape import Shape
from opencolossus.train import optimiser as ours
from opencolossus.train.engine import Engine
from opencolossus.train.muon import orthogonalise
from opencolossus.train.parallel.setting import Setting

MODELS = {
    "dense": Model(
        layers=3,
        width=64,
        heads=4,
        kv_heads=2,
        head_size=16,
        feed_forward=160,
        vocabulary=512,
        context=64,
    ),
    "experts": catalog.entry("models", "grok-micro"),
}


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (64, 160), (160, 64)])
def test_an_orthogonal_matrix_takes_the_flops_that_the_law_counts(rows: int, columns: int) -> None:
    shape = Shape.of(MODELS["dense"], 64)
    with FlopCounterMode(display=False) as counter:
        orthogonalise(torch.randn(2, rows, columns))
    matrices = iter([(np.asarray(float(rows)), np.asarray(float(columns)), np.asarray(2.0))])
    assert optimiser.orthogonal_flops(shape, matrices) == counter.get_total_flops()


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_the_trainers_muon_takes_the_flops_that_the_law_counts(name: str) -> None:
    engine = built(name, "muon")
    for weight in engine.weights.values():
        weight.grad = torch.randn_like(weight)
    with FlopCounterMode(display=False) as counter:
        engine.move(1.0)
    shape = Shape.of(MODELS[name], 64)
    dense = optimiser.orthogonal_flops(shape, optimiser.dense_matrices(shape))
    routed = optimiser.orthogonal_flops(shape, optimiser.routed_matrices(shape))
    assert dense + routed == counter.get_total_flops()


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("name", MODELS)
def test_states_take_the_bytes_that_the_law_counts(name: str, kind: str) -> None:
    """But for norms and routers, which the law leaves out or counts as matrices."""
    engine = built(name, kind)
    ours.prime(engine.optimisers)
    held = sum(
        4.0 * state.numel()
        for key, weight, state in ours.state(engine.optimisers, engine.weights)
        if state.ndim and "norm" not in key and "router" not in key
    )
    law = states(*priced(name, kind))
    router = 8.0 * MODELS[name].layers * MODELS[name].width * MODELS[name].experts
    assert law == pytest.approx(held, abs=router + 1)


@pytest.mark.parametrize("zero", [0, 1])
def test_muon_is_shared_out_where_states_are(zero: int) -> None:
    _, machine, code, _ = priced("dense", "muon")
    shape = Shape.of(catalog.entry("models", "llama3-8b"), 8192)
    one, eight = (
        optimiser.optimiser_time(shape, machine, code, Layouts.of(Layout(zero=zero), n, 64))
        for n in (1, 8)
    )
    assert eight < one if zero else eight >= one


def test_muon_takes_longer_and_less_memory_than_adamw() -> None:
    adam, muon = priced("dense", "adamw"), priced("dense", "muon")
    assert optimiser.optimiser_time(*muon) > optimiser.optimiser_time(*adam)
    assert states(*muon) < states(*adam)


def states(shape: Shape, machine: Machine, code: Code, layouts: Layouts) -> float:
    """Bytes of the optimiser's states."""
    return float(memory(shape, code, layouts).optimiser)


def built(name: str, kind: str) -> Engine:
    setting = Setting(torch.device("cpu"), torch.float32)
    spec = Optimiser.model_validate({"name": kind})
    return Engine(MODELS[name], setting, spec)


def priced(name: str, kind: str) -> tuple[Shape, Machine, machines.Code, Layouts]:
    constants = calibration.shipped()
    node, fabric = catalog.entry("nodes", "hgx-h100"), catalog.entry("fabrics", "quantum-2-ndr")
    fp32 = node.gpu.model_copy(update={"flops": {**node.gpu.flops, "fp32": 6e13}})
    machine = machines.machine(node.model_copy(update={"gpu": fp32}), fabric, "fp32", constants)
    software = catalog.entry("software", "nemo-2025")
    code = machines.code(software, constants, "fp32", optimiser=kind)
    return Shape.of(MODELS[name], 64), machine, code, Layouts.of(Layout(), 1, 64)
