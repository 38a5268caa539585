"""The products of all experts in bf16 on a CPU, in row counts that come back.

oneDNN compiles a kernel for each new number of rows, and experts have a new one in every step: a
product with a new count takes two to ten times as long as one that was seen. So each expert
multiplies a multiple of 64 rows. The extra rows are those of the next experts, whose own
products, coming later, overwrite what the excess wrote there; nothing is copied. Gradients by the
weights sum over rows and must not see a stranger's: there the excess is zero for the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok import kernels
from opencolossus.grok.feed_forward import GATED

MULTIPLE = 64


def expert_products(
    x_MD: Tensor, counts: list[int], gate: Tensor, up: Tensor, down: Tensor, activation: str
) -> Tensor:
    """``(act(x gate_e) * x up_e) down_e`` for the rows of each expert e, which follow each other.

    ``gate`` and ``up`` are [E, D, F], ``down`` is [E, F, D], ``counts`` the rows of each expert.
    """
    out: Tensor = _ExpertProducts.apply(x_MD, gate, up, down, counts, activation)  # type: ignore[no-untyped-call]
    return out


class _ExpertProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_MD: Tensor,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
        counts: list[int],
        activation: str,
    ) -> Tensor:
        # Side by side, so that both are one product, and one more for each gradient.
        both_EDI = torch.cat((gate, up), dim=2)
        both_MI = _products(x_MD, both_EDI, counts)
        act_MF = GATED[activation](*both_MI.chunk(2, dim=1))
        ctx.save_for_backward(x_MD, both_EDI, down, both_MI)
        ctx.counts, ctx.activation = counts, activation
        return _products(act_MF, down, counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_MD, both_EDI, down, both_MI = ctx.saved_tensors
        counts, grad_MD = ctx.counts, grads[0].contiguous()
        grad_act = _products(grad_MD, down.mT, counts)
        grad_MI, act_MF = kernels.gated_gradient_joined(both_MI, grad_act, ctx.activation)
        grad_x = _products(grad_MI, both_EDI.mT, counts)
        grad_gate, grad_up = _weight_gradients(x_MD, grad_MI, grad_MI, counts).chunk(2, dim=2)
        grad_down = _weight_gradients(act_MF, grad_MD, act_MF, counts)
        return grad_x, grad_gate, grad_up, grad_down, None, None


def _spans(counts: list[int]) -> Iterator[tuple[int, int, int]]:
    """Number, first row and rows of each expert that has any."""
    start = 0
    for expert, count in enumerate(counts):
        if count:
            yield expert, start, count
        start += count


def _products(x_MI: Tensor, weight_EIO: Tensor, counts: list[int]) -> Tensor:
    """Each expert's rows times its matrix."""
    M = x_MI.shape[0]
    out_MO = x_MI.new_empty(M, weight_EIO.shape[2])
    for expert, start, count in _spans(counts):
        rows = slice(start, start + _rounded(count))
        if rows.stop > M:
            exact = slice(start, start + count)
            out_MO[exact] = (_padded(x_MI[exact]) @ weight_EIO[expert])[:count]
        else:
            torch.mm(x_MI[rows], weight_EIO[expert], out=out_MO[rows])
    return out_MO


def _weight_gradients(x_MI: Tensor, grad_MO: Tensor, own_M: Tensor, counts: list[int]) -> Tensor:
    """``x_e^T grad_e`` of each expert; zero for one without rows.

    ``own_M`` is x or grad, whichever nobody else reads: while an expert's product runs, the
    excess rows of that one are zero.
    """
    out_EIO = x_MI.new_empty(len(counts), x_MI.shape[1], grad_MO.shape[1])
    for expert, count in enumerate(counts):
        if not count:
            out_EIO[expert] = 0
    for expert, start, count in _spans(counts):
        exact = slice(start, start + count)
        rows = slice(start, start + _rounded(count))
        if rows.stop > x_MI.shape[0]:
            torch.mm(_padded(x_MI[exact]).T, _padded(grad_MO[exact]), out=out_EIO[expert])
            continue
        excess = own_M[exact.stop : rows.stop]
        kept = excess.clone()
        excess.zero_()
        torch.mm(x_MI[rows].T, grad_MO[rows], out=out_EIO[expert])
        excess.copy_(kept)
    return out_EIO


def _rounded(count: int) -> int:
    return -(-count // MULTIPLE) * MULTIPLE


def _padded(x_RI: Tensor) -> Tensor:
    """Zero rows added up to the next multiple."""
    out = x_RI.new_zeros(_rounded(x_RI.shape[0]), x_RI.shape[1])
    out[: x_RI.shape[0]] = x_RI
    return out
