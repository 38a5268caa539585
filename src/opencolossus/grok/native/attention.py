"""Causal attention in C++, block by block within the caches of a core, with its gradient.

Beside `block_attention.py`, which it equals, no score passes through memory and none is formed
that nobody sees; rotary positions are turned to on the way. Queries, keys and values lie side by
side, as one product leaves them, and so do their gradients. It needs the dot products of bf16
pairs of AVX-512.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok.native import functions

LANES = 16
"""Heads are read in vectors of so many numbers."""


@dataclass(frozen=True)
class Form:
    """What attention has beside its tensors."""

    heads: int
    kv_heads: int
    size: int
    """Of a head."""
    scale: float
    softcap: float
    """0 for none."""


def usable(x_BTD: Tensor, head_size: int) -> bool:
    """Whether the processor has the instructions, and the heads fit them."""
    if x_BTD.dtype != torch.bfloat16 or head_size % LANES or not x_BTD.numel():
        return False
    return hasattr(functions.library(), "attention")


def attention(
    x_BTI: Tensor, first_BT: Tensor, rotary: tuple[Tensor, Tensor] | None, form: Form
) -> Tensor:
    """Softmax-weighted values [B, T, H * K] of queries, keys and values [B, T, (H + 2 N) * K].

    Args:
        first_BT: index of the first visible key of each query; the last is its own.
        rotary: cosines and sines as of `rotary.rotary_tables`.
    """
    out: Tensor = _Attention.apply(x_BTI, first_BT, rotary, form)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BTI: Tensor,
        first_BT: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        form: Form,
    ) -> Tensor:
        B, T, _ = x_BTI.shape
        x_BTI, first_BT = x_BTI.contiguous(), first_BT.contiguous()
        y_BTI = x_BTI.new_empty(B, T, form.heads * form.size)
        lse_BHT = torch.empty(B, form.heads, T)
        ctx.rotary, ctx.form = rotary and tuple(t.contiguous() for t in rotary), form
        _call(form, (x_BTI, y_BTI, None, None), (first_BT, lse_BHT), ctx.rotary)
        ctx.save_for_backward(x_BTI, y_BTI, first_BT, lse_BHT)
        return y_BTI

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_BTI, y_BTI, first_BT, lse_BHT = ctx.saved_tensors
        grad_x = torch.empty_like(x_BTI)
        tensors = (x_BTI, y_BTI, grads[0].contiguous(), grad_x)
        _call(ctx.form, tensors, (first_BT, lse_BHT), ctx.rotary)
        return grad_x, None, None, None


def _call(
    form: Form,
    tensors: tuple[Tensor | None, ...],
    rows: tuple[Tensor, Tensor],
    rotary: tuple[Tensor, Tensor] | None,
) -> None:
    x_BTI, (cos, sin) = tensors[0], rotary or (None, None)
    assert x_BTI is not None  # only gradients may be left out
    B, T, _ = x_BTI.shape
    sizes = (ctypes.c_int64 * 5)(B, form.heads, form.kv_heads, T, form.size)
    turns = 0 if cos is None or len(cos) == 1 else T * form.size // 2
    functions.called(
        "attention",
        sizes,
        *map(functions.plain, (*tensors, *rows, cos, sin, turns)),
        floats=(form.scale, form.softcap),
    )
