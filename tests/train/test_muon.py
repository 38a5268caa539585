"""Muon against PyTorch's own, which takes single matrices only."""

from __future__ import annotations

import pytest
import torch

from opencolossus.train.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_steps_equal_those_of_torch(shape):
    torch.manual_seed(1)
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    options = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    mine, reference = Muon([ours], **options), torch.optim.Muon([theirs], **options)
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    # Both work in bf16 (8 bits), with products in another order.
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_a_stack_of_experts_moves_like_its_matrices_alone():
    torch.manual_seed(2)
    stack = torch.nn.Parameter(torch.randn(3, 8, 12))
    alone = [torch.nn.Parameter(w.clone()) for w in stack.detach()]
    grad = torch.randn(3, 8, 12)
    stack.grad = grad
    for w, g in zip(alone, grad, strict=True):
        w.grad = g.clone()
    Muon([stack], lr=0.1, dtype=torch.float32).step()
    Muon(alone, lr=0.1, dtype=torch.float32).step()
    torch.testing.assert_close(stack.detach(), torch.stack([w.detach() for w in alone]))


def test_singular_values_come_near_one_and_directions_stay():
    torch.manual_seed(3)
    M = torch.randn(2, 16, 48)
    U, _, Vh = torch.linalg.svd(M, full_matrices=False)
    O = orthogonalise(M)  # noqa: E741 - the symbol of the papers
    values = torch.linalg.svdvals(O)
    assert values.min() > 0.5
    assert values.max() < 1.3
    inner = torch.einsum("bik,bij,bkj->bk", U, O, Vh)
    torch.testing.assert_close(
        inner.sort(dim=-1).values, values.sort(dim=-1).values, atol=1e-3, rtol=0
    )


def test_a_zero_gradient_moves_nothing():
    w = torch.nn.Parameter(torch.randn(4, 6))
    before = w.detach().clone()
    w.grad = torch.zeros_like(w)
    Muon([w], lr=0.1).step()
    assert torch.equal(w.detach(), before)
