"""Grouped products against one product per expert (on a CPU PyTorch runs them as a loop)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from families import GROK_1, build
from torch import Tensor

from opencolossus.grok import grouped_products
from opencolossus.grok.experts import Experts

COUNTS = [[64, 128, 0, 8], [1, 0, 0, 199], [50, 50, 50, 50]]


def experts(dtype: torch.dtype) -> Experts:
    block = build(GROK_1).blocks["0"]
    found: Experts = block.experts.experts  # type: ignore[union-attr, assignment]
    return found.to(dtype)


def one_by_one(network: Experts, x: Tensor, counts: list[int]) -> Tensor:
    return torch.cat([network._one(e, rows) for e, rows in enumerate(x.split(counts))])


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_values_and_gradients(counts: list[int]) -> None:
    network = experts(torch.bfloat16)
    counts = counts + [0] * (network.up.shape[0] - len(counts))
    generator = torch.Generator().manual_seed(0)
    shape = (sum(counts), network.up.shape[1])
    x = torch.randn(shape, generator=generator).bfloat16().requires_grad_()
    weights = (network.gate, network.up, network.down)
    got = grouped_products.grouped_products(x, torch.tensor(counts), *weights, network.activation)
    assert got is not None
    wanted = one_by_one(network, x, counts)
    torch.testing.assert_close(got, wanted, rtol=2e-2, atol=2e-2 * wanted.abs().max().item())
    probe = torch.randn(got.shape, generator=generator).bfloat16()
    leaves = (x, *(w for w in weights if w is not None))
    for ours, theirs in zip(
        torch.autograd.grad(got, leaves, probe),
        torch.autograd.grad(wanted, leaves, probe),
        strict=True,
    ):
        off = (ours.float() - theirs.float()).norm() / theirs.float().norm()
        assert off < 0.02


def made_up(device: str, dtype: torch.dtype, *shape: int) -> Tensor:
    """What the choice looks at, of a tensor on a GPU that is not here."""

    class Shape(SimpleNamespace):
        def __len__(self) -> int:
            return shape[0]

    return Shape(device=torch.device(device), dtype=dtype, shape=shape)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("device", "dtype", "inner", "rows", "capability", "wanted"),
    [
        ("cuda", torch.bfloat16, 48, 4, (9, 0), True),
        ("cuda", torch.bfloat16, 48, 4, (8, 0), True),
        ("cuda", torch.bfloat16, 48, 4, (7, 5), False),
        ("cuda", torch.bfloat16, 44, 4, (9, 0), False),
        ("cuda", torch.bfloat16, 48, 0, (9, 0), False),
        ("cuda", torch.float32, 48, 4, (9, 0), False),
        ("cpu", torch.bfloat16, 48, 4, (9, 0), False),
    ],
)
def test_where_they_are_used(
    device: str,
    dtype: torch.dtype,
    inner: int,
    rows: int,
    capability: tuple[int, int],
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    x, up = made_up(device, dtype, rows, 16), made_up(device, dtype, 4, 16, inner)
    assert grouped_products.usable(x, up) is wanted


def test_where_they_fail_the_loop_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **options: object) -> Tensor:
        raise RuntimeError("no kernel for this device")

    monkeypatch.setattr(grouped_products, "_failed", False)
    monkeypatch.setattr(grouped_products, "_kernel", lambda: broken)
    monkeypatch.setattr(grouped_products, "usable", lambda x, up: True)
    network = experts(torch.float32)
    counts = torch.tensor([5] * network.up.shape[0])
    x = torch.randn(int(counts.sum()), network.up.shape[1])
    torch.testing.assert_close(network(x, counts), one_by_one(network, x, counts.tolist()))
    assert grouped_products._failed
    assert "no kernel for this device" in caplog.text
