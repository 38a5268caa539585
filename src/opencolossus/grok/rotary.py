"""Rotary positions (Su et al. 2021, eq. 34) in the half-split layout of GPT-NeoX."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from opencolossus.grok import fused, kernels


def rotary_tables(positions_BT: Tensor, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles ``position * base^(-2i/head_size)``, in fp32.

    Returns:
        Two tensors [B, 1, T, head_size / 2], to broadcast over heads.
    """
    exponents = torch.arange(0, head_size, 2, device=positions_BT.device) / head_size
    frequencies = base ** -exponents.float()
    angles_B1TK = positions_BT.float()[:, None, :, None] * frequencies
    return angles_B1TK.cos(), angles_B1TK.sin()


def rotate(x_BHTK: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (i, i + head_size / 2) by its angle; fp32 inside, the type of x outside."""
    cos, sin = tables
    if fused.suits(x_BHTK):
        y: Tensor = _FusedTurn.apply(x_BHTK, cos, sin)  # type: ignore[no-untyped-call]
        return y
    first, second = x_BHTK.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x_BHTK.dtype)


class _FusedTurn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return kernels.turn(x_BHTK.transpose(1, 2), cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return kernels.turn_back(grads[0], *ctx.saved_tensors).transpose(1, 2), None, None
