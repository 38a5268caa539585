"""Attention in C++ against its definition, which is computed in fp32 from the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from opencolossus.grok import block_attention, fused, scores
from opencolossus.grok.native import attention
from opencolossus.grok.scores import HIDDEN, Scoring, attend, attend_eagerly

BF16 = torch.bfloat16


def inputs(shape: tuple[int, int, int, int, int]) -> tuple[Tensor, ...]:
    """Queries and keys (tokens before heads), values, and a gradient of the output."""
    B, H, N, T, K = shape
    generator = torch.Generator().manual_seed(T)
    q, k = (torch.randn(B, T, h, K, generator=generator).mul(2).transpose(1, 2) for h in (H, N))
    v = torch.randn(B, N, T, K, generator=generator)
    return *(x.to(BF16) for x in (q, k, v)), torch.randn(B, H, T, K, generator=generator)


needed = pytest.mark.skipif(
    not attention.usable(*inputs((1, 1, 1, 1, 16))[:2]),
    reason="no compiler, or no dot products of bf16 in AVX-512",
)


def gradients(
    function: Callable[..., Tensor], tensors: tuple[Tensor, ...], dtype: torch.dtype
) -> list[Tensor]:
    """The output and the gradients by queries, keys and values."""
    own = [x.to(dtype).detach().requires_grad_() for x in tensors[:3]]
    out = function(*own)
    found = torch.autograd.grad(out, own, tensors[3].to(dtype))
    assert [g.shape for g in found] == [x.shape for x in own]
    return [x.detach().float() for x in (out, *found)]


def far(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm().clamp(min=1e-3)).item()


@needed
@pytest.mark.parametrize("softcap", [0.0, 5.0, 100.0])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 4, 4, 256, 64),
        (3, 4, 2, 150, 64),
        (2, 4, 1, 37, 32),
        (2, 2, 2, 1, 16),
        (2, 2, 2, 130, 128),
        (2, 2, 1, 200, 48),
    ],
    ids=str,
)
@pytest.mark.parametrize("packed", [False, True], ids=["whole", "packed"])
def test_it_is_as_near_as_rounding_lets_it(
    shape: tuple[int, int, int, int, int], softcap: float, packed: bool
) -> None:
    B, T, scale = shape[0], shape[3], shape[4] ** -0.5
    tensors = inputs(shape)
    first = torch.zeros(B, T, dtype=torch.int32)
    if packed:
        first[1, T // 3 :], first[1, T - T // 4 :] = T // 3, T - T // 4
    index = torch.arange(T)
    mask = ((index <= index[:, None]) & (index >= first[:, :, None]))[:, None]
    scoring = Scoring(scale, softcap or None)
    exact = gradients(
        lambda *x: attend_eagerly(*x, scoring, mask, False, None), tensors, torch.float32
    )
    ours = gradients(lambda *x: attention.attention(*x, first, scale, softcap), tensors, BF16)
    blocks = gradients(
        lambda *x: block_attention.block_attention(*x, first, scale, softcap, HIDDEN), tensors, BF16
    )
    for a, b, wanted in zip(ours, blocks, exact, strict=True):
        assert far(a, wanted) < 1.5 * far(b, wanted) + 0.005


@needed
def test_documents_do_not_see_each_other() -> None:
    q, k, v, _ = inputs((1, 2, 2, 100, 32))
    first = torch.zeros(1, 100, dtype=torch.int32)
    first[:, 60:] = 60
    before = attention.attention(q, k, v, first, 0.2, 5.0)
    k[:, :, :60], v[:, :, :60] = k[:, :, :60].flip(2), 7 * v[:, :, :60]
    after = attention.attention(q, k, v, first, 0.2, 5.0)
    assert after[:, :, 60:].equal(before[:, :, 60:])
    assert not after[:, :, :60].equal(before[:, :, :60])


@needed
def test_the_same_bits_with_any_number_of_threads() -> None:
    tensors = inputs((2, 4, 2, 130, 64))
    first = torch.zeros(2, 130, dtype=torch.int32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(
                gradients(lambda *x: attention.attention(*x, first, 0.1, 30.0), tensors, BF16)
            )
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        assert one.equal(three)


def test_where_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, if the processor can and the heads fit; else blocks of PyTorch's products."""
    q, k, v, _ = inputs((1, 2, 2, 20, 16))
    taken: list[str] = []
    monkeypatch.setattr(fused, "suits", lambda *tensors: True)
    monkeypatch.setattr(scores, "block_attention", lambda *x: taken.append("blocks") or x[0])
    monkeypatch.setattr(attention, "attention", lambda *x: taken.append("native") or x[0])
    first = torch.zeros(1, 20, dtype=torch.int32)
    whole = (q, k, v)
    single, narrow = [x.float() for x in whole], [x[..., :8] for x in whole]
    for library in (type("Library", (), {"attention": None}), None):
        monkeypatch.setattr(attention.functions, "library", lambda found=library: found)
        for tensors in (whole, single, narrow):
            q, k, v = tensors
            attend(q, k, v, Scoring(1.0, 30.0), causal=True, first=first)
    assert taken == ["native", *["blocks"] * 5]
