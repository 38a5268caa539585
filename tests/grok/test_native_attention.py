"""Attention in C++ against that by blocks of PyTorch's products, and against the definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from opencolossus.grok import block_attention, fused
from opencolossus.grok.attention import Attention
from opencolossus.grok.context import build_context
from opencolossus.grok.native import attention
from opencolossus.grok.rotary import rotary_tables, rotate
from opencolossus.grok.scores import HIDDEN, Scoring, attend_eagerly
from opencolossus.specs.model import Model

BF16 = torch.bfloat16
Shape = tuple[int, int, int, int, int]
Function = Callable[[Tensor, Tensor, Tensor], Tensor]


def inputs(shape: Shape) -> tuple[Tensor, Tensor]:
    """Queries, keys and values side by side, and a gradient of the output."""
    B, H, N, T, K = shape
    generator = torch.Generator().manual_seed(T)
    joined = torch.randn(B, T, (H + 2 * N) * K, generator=generator) * 1.7
    return joined.to(BF16), torch.randn(B, T, H * K, generator=generator).to(BF16)


needed = pytest.mark.skipif(
    not attention.usable(torch.ones(1, 1, 16, dtype=BF16), 16),
    reason="no compiler, or no dot products of bf16 in AVX-512",
)


def form(shape: Shape, scale: float, softcap: float) -> attention.Form:
    return attention.Form(shape[1], shape[2], shape[4], scale, softcap)


def gradients(
    function: Callable[[Tensor], Tensor], tensors: tuple[Tensor, Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """The output and the gradient."""
    own = tensors[0].to(dtype).detach().requires_grad_()
    out = function(own)
    (found,) = torch.autograd.grad(out, own, tensors[1].to(dtype))
    return [x.detach().float() for x in (out, found)]


def parted(function: Function, shape: Shape, rotary: tuple[Tensor, Tensor] | None) -> Function:
    """The same of what lies side by side, turned before."""
    B, H, N, T, K = shape

    def run(joined: Tensor) -> Tensor:
        heads = joined.view(B, T, H + 2 * N, K).transpose(1, 2)
        q, k, v = heads.split((H, N, N), dim=1)
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        return function(q, k, v).transpose(1, 2).flatten(2)

    return run


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
def test_it_is_as_near_as_rounding_lets_it(shape: Shape, softcap: float, packed: bool) -> None:
    """Turned by position in half of the cases: by one table for all rows, or by one for each."""
    B, T, scale = shape[0], shape[3], shape[4] ** -0.5
    tensors, rotary = inputs(shape), None
    first = torch.zeros(B, T, dtype=torch.int32)
    if packed:
        first[1, T // 3 :], first[1, T - T // 4 :] = T // 3, T - T // 4
    index = torch.arange(T)
    if softcap:
        positions = index - first if packed else index[None]
        rotary = rotary_tables(positions, shape[4], 10_000.0)
    mask = ((index <= index[:, None]) & (index >= first[:, :, None]))[:, None]
    scoring = Scoring(scale, softcap or None)
    defined = parted(lambda *x: attend_eagerly(*x, scoring, mask, False, None), shape, rotary)
    exact = gradients(defined, tensors, torch.float32)
    ours = gradients(
        lambda x: attention.attention(x, first, rotary, form(shape, scale, softcap)), tensors, BF16
    )
    by_blocks = parted(
        lambda *x: block_attention.block_attention(*x, first, scale, softcap, HIDDEN), shape, rotary
    )
    blocks = gradients(by_blocks, tensors, BF16)
    for a, b, wanted in zip(ours, blocks, exact, strict=True):
        by_head = (x.split(shape[4], dim=2) for x in (a, b, wanted))
        for mine, theirs, true in zip(*by_head, strict=True):
            assert far(mine, true) < 1.5 * far(theirs, true) + 0.005


@needed
def test_documents_do_not_see_each_other() -> None:
    shape = (1, 2, 2, 100, 32)
    joined, _ = inputs(shape)
    first = torch.zeros(1, 100, dtype=torch.int32)
    first[:, 60:] = 60
    before = attention.attention(joined, first, None, form(shape, 0.2, 5.0))
    joined[:, :60, 64:] = joined[:, :60, 64:].flip(1) * 3
    after = attention.attention(joined, first, None, form(shape, 0.2, 5.0))
    assert after[:, 60:].equal(before[:, 60:])
    assert not after[:, :60].equal(before[:, :60])


@needed
def test_the_same_bits_with_any_number_of_threads() -> None:
    shape = (2, 4, 2, 130, 64)
    tensors, rotary = inputs(shape), rotary_tables(torch.arange(130)[None], 64, 10_000.0)
    first = torch.zeros(2, 130, dtype=torch.int32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(
                gradients(
                    lambda x: attention.attention(x, first, rotary, form(shape, 0.1, 30.0)),
                    tensors,
                    BF16,
                )
            )
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        assert one.equal(three)


@needed
def test_products_of_others_stay_right() -> None:
    """Matrix units keep the shapes of tiles that somebody set before."""
    shape = (1, 2, 2, 128, 64)
    joined, _ = inputs(shape)
    first = torch.zeros(1, 128, dtype=torch.int32)
    a, b = torch.randn(7, 50).to(BF16), torch.randn(50, 9).to(BF16)
    before = a @ b
    for _ in range(3):
        attention.attention(joined, first, None, form(shape, 0.1, 0.0))
        assert (a @ b).equal(before)


def test_where_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, if the processor can and the heads fit; else products are taken one by one."""
    taken: list[str] = []
    monkeypatch.setattr(fused, "suits", lambda *tensors: True)
    monkeypatch.setattr(
        Attention, "_apart", lambda self, x, context: taken.append("apart") or self.query(x)
    )

    def joined(x: Tensor, *rest: object) -> Tensor:
        taken.append("joined")
        return x[..., : x.shape[-1] // 3]

    monkeypatch.setattr(attention, "attention", joined)
    for library in (type("Library", (), {"attention": None}), None):
        monkeypatch.setattr(attention.functions, "library", lambda found=library: found)
        for head_size, dtype in ((16, BF16), (16, torch.float32), (8, BF16)):
            model = small(head_size)
            context = build_context(model, (1, 20), torch.device("cpu"))
            Attention(model, 0).to(dtype)(torch.ones(1, 20, model.width, dtype=dtype), context)
    assert taken == ["joined", *["apart"] * 5]


@needed
@pytest.mark.parametrize("biases", [False, True])
def test_joined_equals_apart(monkeypatch: pytest.MonkeyPatch, biases: bool) -> None:
    """Three products and their positions, in one: the output, and the gradients of all weights."""
    model = small(32).model_copy(update={"kv_heads": 1, "biases": biases})
    torch.manual_seed(0)
    whole = Attention(model, 0)
    context = build_context(model, (2, 50), torch.device("cpu"))
    x, probe = torch.randn(2, 2, 50, model.width)
    wanted = [
        whole(x, context),
        *torch.autograd.grad((whole(x, context) * probe).sum(), whole.parameters()),
    ]
    monkeypatch.setattr(fused, "suits", lambda *tensors: True)
    half = whole.to(BF16)
    assert half._can_join(x.to(BF16), context)
    out = half(x.to(BF16), context)
    got = [out, *torch.autograd.grad((out * probe.to(BF16)).sum(), half.parameters())]
    for a, b in zip(got, wanted, strict=True):
        assert far(a.float(), b) < 0.02


def small(head_size: int) -> Model:
    return Model(
        layers=1,
        width=64,
        heads=2,
        kv_heads=2,
        head_size=head_size,
        feed_forward=64,
        vocabulary=16,
        context=64,
    )
