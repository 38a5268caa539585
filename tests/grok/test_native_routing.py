"""The router and the way of rows in C++, against the plain forms that define them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from opencolossus.grok import fused, kernels
from opencolossus.grok.native import functions, routing
from opencolossus.grok.router import Router
from opencolossus.specs.model import Model

needed = pytest.mark.skipif(functions.library() is None, reason="there is no C++ compiler")


def router(top_k: int, softcap: float | None, renormalise: bool) -> Router:
    model = Model(
        layers=1,
        width=40,
        heads=2,
        kv_heads=2,
        head_size=20,
        vocabulary=16,
        context=64,
        experts=19,
        experts_per_token=top_k,
        expert_feed_forward=8,
        router_softcap=softcap,
        renormalise_gates=renormalise,
    )
    found = Router(model)
    generator = torch.Generator().manual_seed(0)
    found.gate.weight.data = torch.randn(19, 40, generator=generator)
    found.bias.data = torch.randn(19, generator=generator) * 0.02
    return found


def routed(found: Router, x_BTD: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The choice; gates, losses and the gradients of a mixture of them."""
    found.reset_load()
    x_BTD = x_BTD.detach().requires_grad_()
    out = found(x_BTD)
    probe = torch.linspace(-1, 1, out.gates_NJ.numel()).view_as(out.gates_NJ)
    total = (out.gates_NJ * probe).sum() + 0.3 * out.balance + 0.01 * out.z
    grads = torch.autograd.grad(total, (x_BTD, found.gate.weight))
    return out.experts_NJ, [out.gates_NJ, out.balance, out.z, found.load.clone(), *grads]


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize(("top_k", "softcap"), [(1, None), (2, 30.0), (5, None)])
def test_the_router_in_one_pass(
    top_k: int,
    softcap: float | None,
    renormalise: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = router(top_k, softcap, renormalise)
    x = torch.randn(3, 50, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    chosen, wanted = routed(found, x)
    monkeypatch.setattr(fused, "suits", lambda *tensors: True)
    ours, got = routed(found, x)
    assert ours.equal(chosen)
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == b.dtype
        bound = 1e-4 if a.dtype == torch.float32 else 1 / 64
        torch.testing.assert_close(a, b, rtol=bound, atol=bound / 10)


@needed
def test_the_router_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found, x = router(2, 30.0, True), torch.randn(9, 64, 40)
    monkeypatch.setattr(fused, "suits", lambda *tensors: True)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            runs.append(routed(found, x)[1])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*runs, strict=True):
        assert one.equal(three)


@needed
def test_what_is_no_number_still_chooses_experts() -> None:
    """The guard sees the loss; until then nobody may read outside of a tensor."""
    x, choice = torch.full((70, 40), float("nan")), routing.Choice(3, 0.0, True)
    found = router(3, None, True)
    experts = routing.route(x, found.gate.weight, found.bias, choice)[2]
    assert experts.min() >= 0
    assert experts.max() < 19
    assert all(len(set(row)) == 3 for row in experts.tolist())


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [5, 48])
def test_rows_to_experts_and_back(width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    experts = torch.rand(80, 7, generator=generator).argsort(dim=1)[:, :3].contiguous()
    experts[experts == 4] = 6  # one without rows
    for counts in (experts.flatten().bincount(minlength=7), torch.full((7,), 160)):
        total = int(counts.sum())
        token, place = kernels.sort_choices(experts, counts, total)
        for ours, theirs in zip(
            routing.sort_choices(experts, counts, total) or (), (token, place), strict=True
        ):
            assert ours.equal(theirs)
        assert token[place].equal(torch.arange(80)[:, None].expand(80, 3))
        assert (place >= (counts.cumsum(0) - counts)[experts]).all()
        assert (place < counts.cumsum(0)[experts]).all()
        assert place.unique().numel() == 240
        check_rows(total, width, place, dtype, generator)


def check_rows(
    total: int, width: int, place: Tensor, dtype: torch.dtype, generator: torch.Generator
) -> None:
    rows = torch.randn(total, width, generator=generator).to(dtype)
    grad = torch.randn(80, width, generator=generator).to(dtype)
    gates = torch.rand(80, 3, generator=generator)
    pairs = [
        (routing.gather_sum(rows, place), kernels.gather_sum(rows, place)),
        (routing.gather_weighted(rows, place, gates), kernels.gather_weighted(rows, place, gates)),
        *zip(
            routing.gather_weighted_gradient(rows, place, gates, grad) or (),
            kernels.gather_weighted_gradient(rows, place, gates, grad),
            strict=True,
        ),
    ]
    for ours, theirs in pairs:
        assert ours is not None
        bound = 1e-5 if ours.dtype == torch.float32 else 1 / 64
        torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound)
