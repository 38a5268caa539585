"""Choice, gates and balance of the experts."""

from __future__ import annotations

import pytest
import torch
from families import GROK_1, MIXTRAL, build
from torch import Tensor

from opencolossus.grok.experts import MixtureOfExperts
from opencolossus.grok.feed_forward import activate
from opencolossus.grok.model import Grok
from opencolossus.grok.router import Router
from opencolossus.specs.model import Model


def mixture(model: Model) -> MixtureOfExperts:
    block = build(model).blocks["1"]
    assert isinstance(block.experts, MixtureOfExperts)
    return block.experts


def dense_definition(moe: MixtureOfExperts, x_ND: Tensor) -> Tensor:
    """Every expert for every token, weighted by a gate that is 0 where it was not chosen."""
    probs = (x_ND @ moe.router.gate.weight.T).softmax(-1)
    top = probs.topk(moe.router.top_k)
    values = top.values
    if moe.router.renormalise:
        values = values / values.sum(-1, keepdim=True)
    gates_NE = torch.zeros_like(probs).scatter(1, top.indices, values)
    w = moe.experts
    inner = activate(torch.einsum("nd,edf->nef", x_ND, w.gate), w.activation)
    inner = inner * torch.einsum("nd,edf->nef", x_ND, w.up)
    return torch.einsum("nef,efd,ne->nd", inner, w.down, gates_NE)


@pytest.mark.parametrize("model", [GROK_1, MIXTRAL], ids=["grok", "mixtral"])
def test_no_token_is_dropped(model: Model) -> None:
    """The sorted products equal the definition, gradients too, even when all choose alike."""
    moe = mixture(model)
    x = torch.randn(1, 50, model.width, generator=torch.Generator().manual_seed(0))
    for row in (x, x[:, :1].expand(-1, 50, -1).contiguous()):
        row.requires_grad_()
        weights = [row, *moe.experts.parameters(), moe.router.gate.weight]
        got = moe(row)[0][0]
        wanted = dense_definition(moe, row[0])
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
        probe = torch.randn(got.shape, generator=torch.Generator().manual_seed(1))
        ours = torch.autograd.grad((got * probe).sum(), weights)
        theirs = torch.autograd.grad((wanted * probe).sum(), weights)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def skewed(router: Router, by: float) -> None:
    with torch.no_grad():
        router.gate.weight.zero_()
        router.gate.weight[0] = by


def test_even_load_costs_one_per_token_and_collapse_more() -> None:
    router = mixture(GROK_1).router
    x = torch.rand(3, 40, GROK_1.width)
    skewed(router, 0.0)
    assert router(x).balance.item() == pytest.approx(120, rel=1e-5)
    skewed(router, 1.0)
    # Nearly all probability on one of 8 experts that takes every second choice: 8 * 1/2 * 1.
    assert router(x).balance.item() == pytest.approx(480, rel=0.01)


def test_losses_of_a_batch_are_the_sums_of_its_rows() -> None:
    router = mixture(GROK_1).router
    x = torch.randn(4, 16, GROK_1.width)
    whole, rows = router(x), [router(row[None]) for row in x]
    torch.testing.assert_close(whole.balance, sum(r.balance for r in rows))
    torch.testing.assert_close(whole.z, sum(r.z for r in rows))


def test_z_loss_is_the_squared_log_partition() -> None:
    router = mixture(GROK_1).router
    x = torch.randn(2, 5, GROK_1.width)
    logits = x @ router.gate.weight.T
    torch.testing.assert_close(router(x).z, logits.exp().sum(-1).log().pow(2).sum())


def test_bias_changes_the_choice_and_never_the_gates() -> None:
    router = mixture(GROK_1).router
    x = torch.randn(1, 9, GROK_1.width)
    probs = (x[0] @ router.gate.weight.T).softmax(-1)
    router.bias[5] = 2.0
    routing = router(x)
    assert (routing.experts_NJ[:, 0] == 5).all()
    torch.testing.assert_close(routing.gates_NJ, probs.gather(1, routing.experts_NJ))


def test_bias_updates_even_out_the_load() -> None:
    router = mixture(GROK_1).router.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        router.gate.weight[0] += 0.05
    x = torch.rand(8, 64, GROK_1.width, generator=generator)

    def heaviest() -> float:
        router.reset_load()
        router(x)
        return (router.load.max() / router.load.mean()).item()

    before = heaviest()
    for _ in range(300):
        router.update_bias(router.load, rate=0.002)
        after = heaviest()
    assert before > 3
    assert after < 1.5


def test_balance_loss_evens_out_the_load_by_gradient() -> None:
    router = mixture(GROK_1).router.train()
    with torch.no_grad():
        router.gate.weight[0] += 0.3
    x = torch.rand(8, 64, GROK_1.width, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(router.parameters(), lr=0.01)
    loads = []
    for _ in range(200):
        router.reset_load()
        balance = router(x).balance / 512
        loads.append((router.load.max() / router.load.mean()).item())
        optimiser.zero_grad()
        balance.backward()
        optimiser.step()
    assert loads[0] > 3
    assert loads[-1] < 2


def test_load_counts_every_choice_while_training(small_grok_1: Grok) -> None:
    tokens = torch.randint(97, (2, 16))
    small_grok_1(tokens)
    routers = small_grok_1.routers()
    assert set(routers) == {"0", "1"}
    assert all(router.load.sum() == 0 for router in routers.values())
    small_grok_1.train()
    small_grok_1(tokens)
    assert all(router.load.sum() == 2 * 16 * 2 for router in routers.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_experts_without_any_row_still_have_a_gradient(dtype: torch.dtype) -> None:
    """A rank of an expert-parallel group may be sent nothing, and must take part in backward."""
    experts = mixture(GROK_1).experts.to(dtype)
    x = torch.zeros(0, GROK_1.width, dtype=dtype, requires_grad=True)
    out = experts(x, torch.zeros(8, dtype=torch.long))
    assert out.shape == (0, GROK_1.width)
    out.sum().backward()
    assert x.grad is not None
    for weight in experts.parameters():
        assert weight.grad is not None
        assert not weight.grad.any()
