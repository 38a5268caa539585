"""Which layers multiply in float8, what that costs in precision, and who is refused."""

from __future__ import annotations

import pytest
import ranks
import torch
from torch import nn

from opencolossus.grok.model import Grok
from opencolossus.specs.errors import UserError
from opencolossus.train.parallel import float8

CPU = torch.device("cpu")


def network(kind: str) -> Grok:
    made = Grok(ranks.model(kind))
    made.init_weights(1)
    return made


def low(net: Grok) -> set[str]:
    """Names of the layers that were converted."""
    return {name for name, m in net.named_modules() if type(m).__name__ == "Float8Linear"}


def test_linear_layers_of_blocks_are_converted_and_nothing_else():
    pytest.importorskip("torchao")
    net = network("grok")
    before = dict(net.named_parameters())
    float8.convert(net, emulate=True)
    wanted = {f"blocks.{i}.attention.{name}" for i in range(4) for name in ("query", "output")}
    # 16 of 32: two key-value heads of 8 still are a multiple; 24 inner numbers are none.
    wanted |= {f"blocks.{i}.attention.{name}" for i in range(4) for name in ("key", "value")}
    assert low(net) == wanted
    assert all(p is before[name] for name, p in net.named_parameters())


@pytest.mark.parametrize(
    ("name", "shape", "chosen"),
    [
        ("blocks.0.attention.query", (64, 32), True),
        ("blocks.3.feed_forward.down", (32, 48), True),
        ("blocks.0.experts.router.gate", (16, 32), False),
        ("blocks.0.attention.query", (24, 32), False),
        ("blocks.0.attention.query", (32, 8), False),
        ("head", (64, 32), False),
    ],
)
def test_the_choice_is_by_place_and_size(name, shape, chosen):
    assert float8.suits(nn.Linear(shape[1], shape[0], bias=False), name) == chosen


def test_only_linear_layers_are_chosen():
    assert not float8.suits(nn.LayerNorm(32), "blocks.0.attention.query")


def test_the_loss_moves_by_rounding_only_and_every_weight_learns():
    pytest.importorskip("torchao")
    batch = ranks.rows(1)
    losses = []
    for convert in (False, True):
        net = network("dense")
        if convert:
            float8.convert(net, emulate=True)
        loss = net.loss(batch.tokens, batch.targets).total
        loss.backward()
        losses.append(float(loss.detach()))
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert losses[0] != losses[1]  # or nothing was rounded
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_a_machine_without_float8_is_refused_in_one_sentence():
    with pytest.raises(UserError, match=r"run\.precision fp8 needs a GPU .* on a CPU; or set it"):
        float8.check(CPU)


@pytest.mark.parametrize(
    ("capability", "installed", "said"),
    [
        ((8, 0), True, "has none"),
        ((9, 0), False, r"pip install 'opencolossus\[float8\]'"),
        ((8, 9), True, None),
        ((10, 0), True, None),
    ],
)
def test_gpus_are_judged_by_their_capability(monkeypatch, capability, installed, said):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A GPU")
    monkeypatch.setattr(float8, "find_spec", lambda _: object() if installed else None)
    found = float8.fault(torch.device("cuda"))
    assert (found is None) == (said is None)
    if said is not None:
        with pytest.raises(UserError, match=said):
            float8.check(torch.device("cuda"))
