"""The products of all experts in bf16 on a CPU: in row counts that come back, and side by side.

oneDNN compiles a kernel for each new number of rows, and experts have a new one in every step: a
product with a new count takes two to ten times as long as one that was seen. So each expert has a
multiple of `MULTIPLE` rows; what fills them up has no gradient, and nobody reads what comes of it.

Experts are small: two cores that share every product wait for each other more than they gain.
Where all are busy for about as long, each core takes whole experts instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok import kernels
from opencolossus.grok.feed_forward import GATED
from opencolossus.grok.native import side_by_side

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
        both_MI, out_MD = x_MD.new_empty(len(x_MD), both_EDI.shape[2]), torch.empty_like(x_MD)

        def one(expert: int, rows: slice) -> None:
            torch.mm(x_MD[rows], both_EDI[expert], out=both_MI[rows])
            act_RF = GATED[activation](*both_MI[rows].chunk(2, dim=1))
            torch.mm(act_RF, down[expert], out=out_MD[rows])

        _each(one, counts)
        ctx.save_for_backward(x_MD, both_EDI, down, both_MI)
        ctx.counts, ctx.activation = counts, activation
        return out_MD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_MD, both_EDI, down, both_MI = ctx.saved_tensors
        grad_MD = grads[0].contiguous()
        grad_x, grad_both, grad_down = map(torch.empty_like, (x_MD, both_EDI, down))

        def one(expert: int, rows: slice) -> None:
            x_RD, grad_RD = x_MD[rows], grad_MD[rows]
            grad_RI, act_RF = kernels.gated_gradient_joined(
                both_MI[rows], grad_RD @ down[expert].T, ctx.activation
            )
            torch.mm(grad_RI, both_EDI[expert].T, out=grad_x[rows])
            # Without rows both are zero.
            torch.mm(x_RD.T, grad_RI, out=grad_both[expert])
            torch.mm(act_RF.T, grad_RD, out=grad_down[expert])

        _each(one, ctx.counts)
        grad_gate, grad_up = grad_both.chunk(2, dim=2)
        return grad_x, grad_gate, grad_up, grad_down, None, None


def _each(work: Callable[[int, slice], None], counts: list[int]) -> None:
    """Do the work for each expert and its rows."""
    ends = torch.tensor(counts).cumsum(0).tolist()

    @torch.no_grad()
    def one(expert: int) -> None:
        work(expert, slice(ends[expert] - counts[expert], ends[expert]))

    threads = torch.get_num_threads()
    even = threads * max(counts) <= sum(counts)
    side_by_side.run(one, len(counts), threads if even else 1)
