"""The router's twin in C++, and those of `kernels.py` that send rows to experts and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok.native.functions import SHARES, call, fit

LARGEST = 1 << 16
"""Numbers of a router's matrix up to which its gradient is summed in shares."""


@dataclass(frozen=True)
class Choice:
    """How a router chooses."""

    top_k: int
    softcap: float
    """0 for none."""
    renormalise: bool


def usable(x_BTD: Tensor, weight_ED: Tensor) -> bool:
    """Whether the rows and the matrix are as the functions want them."""
    small = 0 < weight_ED.numel() <= LARGEST and x_BTD.numel() > 0
    return small and fit(x_BTD) and fit(weight_ED, torch.float32)


def route(
    x_ND: Tensor, weight_ED: Tensor, bias_E: Tensor, choice: Choice
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities [N, E], logs of the scores' sums of exponentials [N], experts, gates [N, J]."""
    out: tuple[Tensor, Tensor, Tensor, Tensor]
    out = _Route.apply(x_ND, weight_ED, bias_E, choice)  # type: ignore[no-untyped-call]
    return out


class _Route(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_ED: Tensor, bias_E: Tensor, choice: Choice
    ) -> tuple[Tensor, ...]:
        (N, D), E, J = x_ND.shape, len(weight_ED), choice.top_k
        scores_NE, probs_NE, lse_N, gates_NJ = (torch.empty(N, n) for n in (E, E, 1, J))
        experts_NJ = torch.empty(N, J, dtype=torch.int64)
        out = (scores_NE, probs_NE, lse_N, experts_NJ, gates_NJ)
        sizes = (N, D, E, J, int(choice.renormalise))
        call("route", x_ND, weight_ED, bias_E, *out, *sizes, floats=(choice.softcap,))
        ctx.save_for_backward(x_ND, weight_ED, scores_NE, probs_NE, experts_NJ)
        ctx.choice = choice
        ctx.mark_non_differentiable(experts_NJ)
        return probs_NE, lse_N.squeeze(1), experts_NJ, gates_NJ

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, weight_ED, *found = ctx.saved_tensors
        grad_probs, grad_lse, _, grad_gates = grads
        E, D = weight_ED.shape
        grad_x, shares = torch.empty_like(x_ND), torch.empty(SHARES, E, D)
        slopes = grad_probs.contiguous().clone()
        given = (grad_gates.contiguous(), grad_lse.contiguous())
        choice: Choice = ctx.choice
        sizes = (SHARES, len(x_ND), D, E, choice.top_k, int(choice.renormalise))
        into = (slopes, grad_x, shares)
        numbers = (choice.softcap,)
        call("route_gradient", x_ND, weight_ED, *found, *given, *into, *sizes, floats=numbers)
        return grad_x, shares.sum(0), None, None


def sort_choices(experts_NJ: Tensor, counts_E: Tensor, rows: int) -> tuple[Tensor, Tensor] | None:
    """See `kernels.sort_choices`."""
    if experts_NJ.device.type != "cpu" or not fit(experts_NJ, torch.int64):
        return None
    token_M, place_NJ = experts_NJ.new_zeros(rows), torch.empty_like(experts_NJ)
    sizes = (experts_NJ.numel(), experts_NJ.shape[1], len(counts_E))
    call("sort_choices", experts_NJ, counts_E, token_M, place_NJ, *sizes)
    return token_M, place_NJ


def gather_sum(rows_MD: Tensor, place_NJ: Tensor) -> Tensor | None:
    """See `kernels.gather_sum`."""
    return _gather(rows_MD, place_NJ, None)


def gather_weighted(rows_MD: Tensor, place_NJ: Tensor, gates_NJ: Tensor) -> Tensor | None:
    """See `kernels.gather_weighted`."""
    return _gather(rows_MD, place_NJ, gates_NJ) if fit(gates_NJ, torch.float32) else None


def _gather(rows_MD: Tensor, place_NJ: Tensor, gates_NJ: Tensor | None) -> Tensor | None:
    if not fit(rows_MD) or not fit(place_NJ, torch.int64):
        return None
    out_ND = rows_MD.new_empty(len(place_NJ), rows_MD.shape[1])
    call("gather", rows_MD, place_NJ, gates_NJ, out_ND, *place_NJ.shape, rows_MD.shape[1])
    return out_ND


def gather_weighted_gradient(
    rows_MD: Tensor, place_NJ: Tensor, gates_NJ: Tensor, grad_ND: Tensor
) -> tuple[Tensor, Tensor] | None:
    """See `kernels.gather_weighted_gradient`."""
    fits = fit(rows_MD) and fit(place_NJ, torch.int64) and fit(gates_NJ, torch.float32)
    if not fits or not fit(grad_ND, rows_MD.dtype):
        return None
    read = (rows_MD, place_NJ, gates_NJ, grad_ND)
    new = torch.empty_like if len(rows_MD) == place_NJ.numel() else torch.zeros_like
    grad_rows, grad_gates = new(rows_MD), torch.empty_like(gates_NJ)
    sizes = (*place_NJ.shape, rows_MD.shape[1])
    call("gather_gradient", *read, grad_rows, grad_gates, *sizes)
    return grad_rows, grad_gates
