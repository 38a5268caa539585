"""Rows of tokens to rows of experts and back, without a scattered sum in either direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok import fused, kernels


@dataclass(frozen=True)
class Order:
    """A sort of N x J choices by expert: row m of the experts is token ``token_M[m]``."""

    token_M: Tensor
    """Any, where a row only fills up those of its expert."""
    place_NJ: Tensor
    """The inverse: which row each choice became."""
    counts_E: Tensor

    @classmethod
    def of(cls, experts_NJ: Tensor, experts: int, multiple: int = 1) -> Order:
        """Sort choices; each expert has a multiple of rows, those with a choice first."""
        counts_E = kernels.count(experts_NJ.flatten(), experts)
        rows = experts_NJ.numel()
        if multiple > 1:
            counts_E = counts_E.add_(multiple - 1).div_(multiple, rounding_mode="floor") * multiple
            rows = int(counts_E.sum())
        return cls(*kernels.sort_choices(experts_NJ, counts_E, rows), counts_E)


def to_experts(x_ND: Tensor, order: Order) -> Tensor:
    """The rows [M, D] of the experts."""
    rows: Tensor = _ToExperts.apply(x_ND, order)  # type: ignore[no-untyped-call]
    return rows


def to_tokens(y_MD: Tensor, gates_NJ: Tensor, order: Order) -> Tensor:
    """Each token's rows [N, D], weighted by its gates (fp32) and summed."""
    if fused.suits(y_MD):
        fast: Tensor = _ToTokens.apply(y_MD, gates_NJ, order)  # type: ignore[no-untyped-call]
        return fast
    y_NJD = y_MD[order.place_NJ]
    return (y_NJD * gates_NJ.to(y_NJD.dtype)[..., None]).sum(dim=1)


class _ToExperts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order: Order) -> Tensor:
        ctx.order = order
        return x_ND.index_select(0, order.token_M)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return kernels.gather_sum(grads[0], ctx.order.place_NJ), None


class _ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_MD: Tensor, gates_NJ: Tensor, order: Order) -> Tensor:
        ctx.save_for_backward(y_MD, gates_NJ)
        ctx.order = order
        return kernels.gather_weighted(y_MD, order.place_NJ, gates_NJ)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        y_MD, gates_NJ = ctx.saved_tensors
        order: Order = ctx.order
        grad_rows, grad_gates = kernels.gather_weighted_gradient(
            y_MD, order.place_NJ, gates_NJ, grads[0].contiguous()
        )
        return grad_rows, grad_gates, None
