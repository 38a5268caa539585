"""Causal attention in C++, block by block within the caches of a core, with its gradient.

Beside `block_attention.py`, which it equals, no score passes through memory and none is formed
that nobody sees. It needs the dot products of bf16 pairs of AVX-512.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok.native import functions

LANES = 16
"""Heads are read in vectors of so many numbers."""


def usable(q_BHTK: Tensor, k_BNTK: Tensor) -> bool:
    """Whether the processor has the instructions, and the heads fit them."""
    if q_BHTK.dtype != torch.bfloat16 or q_BHTK.shape[-1] % LANES or not q_BHTK.numel():
        return False
    return q_BHTK.shape[2] == k_BNTK.shape[2] and hasattr(functions.library(), "attention")


def attention(
    q_BHTK: Tensor, k_BNTK: Tensor, v_BNTK: Tensor, first_BT: Tensor, scale: float, softcap: float
) -> Tensor:
    """Softmax-weighted values [B, H, T, K]; arguments as of `block_attention.block_attention`."""
    arguments = (q_BHTK, k_BNTK, v_BNTK, first_BT, (scale, softcap))
    out: Tensor = _Attention.apply(*arguments)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_BHTK: Tensor,
        k_BNTK: Tensor,
        v_BNTK: Tensor,
        first_BT: Tensor,
        numbers: tuple[float, float],
    ) -> Tensor:
        B, H, T, K = q_BHTK.shape
        q, k, v = (_whole_heads(x) for x in (q_BHTK, k_BNTK, v_BNTK))
        first_BT = first_BT.contiguous()
        # In the order of tokens, which the projection that follows reads.
        out_BHTK = q.new_empty(B, T, H, K).transpose(1, 2)
        lse_BHT = torch.empty(B, H, T)
        _call((q, k, v, out_BHTK), first_BT, lse_BHT, numbers)
        ctx.save_for_backward(q, k, v, out_BHTK, first_BT, lse_BHT)
        ctx.numbers = numbers
        return out_BHTK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *read, first_BT, lse_BHT = ctx.saved_tensors
        found = [torch.empty_like(x) for x in read[:3]]
        _call((*read, _whole_heads(grads[0]), *found), first_BT, lse_BHT, ctx.numbers)
        return *found, None, None


def _whole_heads(x_BHTK: Tensor) -> Tensor:
    """The same, with the numbers of a head side by side."""
    return x_BHTK if x_BHTK.stride(-1) == 1 else x_BHTK.contiguous()


def _call(
    tensors: tuple[Tensor, ...], first_BT: Tensor, lse_BHT: Tensor, numbers: tuple[float, float]
) -> None:
    (B, H, T, K), N = tensors[0].shape, tensors[1].shape[1]
    sizes = (ctypes.c_int64 * 6)(B, H, N, T, K, len(tensors))
    addresses = (ctypes.c_void_p * len(tensors))(*(x.data_ptr() for x in tensors))
    steps = [step for x in tensors for step in x.stride()[:3]]
    functions.called(
        "attention",
        sizes,
        ctypes.c_void_p(first_BT.data_ptr()),
        ctypes.c_void_p(lse_BHT.data_ptr()),
        addresses,
        (ctypes.c_int64 * len(steps))(*steps),
        floats=numbers,
    )
