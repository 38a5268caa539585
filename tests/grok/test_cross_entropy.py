"""The chunked head and loss against PyTorch's own cross entropy of all logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from opencolossus.grok import cross_entropy
from opencolossus.grok.cross_entropy import IGNORED, Shaping, linear_cross_entropy

SHAPINGS = [Shaping(), Shaping(0.5), Shaping(0.5, 3.0)]


@pytest.mark.parametrize("shaping", SHAPINGS, ids=str)
@pytest.mark.parametrize("chunk", [1 << 22, 300 * 41])
@pytest.mark.parametrize("shares", [1, 2])
def test_loss_and_gradients(
    shaping: Shaping, chunk: int, shares: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one share, and in two side by side."""
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(cross_entropy, "_shares", lambda *tensors: shares)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(700, 16, generator=generator, requires_grad=True)
    weight = torch.randn(41, 16, generator=generator, requires_grad=True)
    targets = torch.randint(41, (700,), generator=generator)
    targets[::7] = IGNORED
    wanted = F.cross_entropy(shaping(x @ weight.T), targets, ignore_index=IGNORED, reduction="sum")
    got = linear_cross_entropy(x, weight, targets, shaping)
    torch.testing.assert_close(got, wanted)
    # Any scale may follow, as the trainer's division by the global count does.
    gradients = torch.autograd.grad(wanted / 600, (x, weight))
    ours = torch.autograd.grad(got / 600, (x, weight))
    for a, b in zip(ours, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_batch_without_targets_costs_nothing() -> None:
    x = torch.randn(5, 4, requires_grad=True)
    weight = torch.randn(7, 4, requires_grad=True)
    loss = linear_cross_entropy(x, weight, torch.full((5,), IGNORED), Shaping())
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, (x, weight)):
        assert not gradient.any()
