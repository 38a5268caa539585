"""Cross entropy of a linear head, in chunks of rows, its gradient taken while the logits are there.

All logits of a batch are the largest tensor of a small model and a quarter of its step. Here each
chunk of rows is projected, turned into its loss and its gradient, and forgotten (the idea of
Cut Cross-Entropy, Wijmans et al. 2024, and of Liger Kernel, Hsu et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from opencolossus.grok import fused, kernels
from opencolossus.grok.native import side_by_side

IGNORED = -100
"""Target of a token that does not count."""

CHUNK_LOGITS = 1 << 22
"""Logits held at once: 8 MB in bf16. Smaller chunks add up more often, larger ones leave the
processor's cache: 1,024 rows of 8,192 took 4.7 ms of one core in halves and 7.2 at once."""


LARGEST_SUM = 1 << 23
"""Numbers of the head's gradient up to which it may be summed twice over."""


@dataclass(frozen=True)
class Shaping:
    """What happens to a logit after the product: ``c * tanh(multiplier * x / c)``."""

    multiplier: float = 1.0
    softcap: float | None = None
    """c; without it only the multiplier applies."""

    def __call__(self, logits: Tensor) -> Tensor:
        logits = logits * self.multiplier if self.multiplier != 1.0 else logits
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def backward(self, shaped: Tensor, gradient: Tensor) -> Tensor:
        """Gradient by the raw logits, from the shaped ones and the gradient by them."""
        if self.softcap is not None:
            gradient = gradient * (1 - (shaped / self.softcap).square())
        return gradient * self.multiplier if self.multiplier != 1.0 else gradient


def linear_cross_entropy(
    x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, shaping: Shaping
) -> Tensor:
    """Summed cross entropy in nats (fp32 scalar) of ``shaping(x @ weight.T)`` with the targets.

    Rows whose target is `IGNORED` add nothing. The products run in the type of ``x``, softmax and
    sums in fp32.
    """
    total: Tensor = _LinearCrossEntropy.apply(x_ND, weight_VD, targets_N, shaping)  # type: ignore[no-untyped-call]
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, shaping: Shaping
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:2])
        rows = max(CHUNK_LOGITS // weight_VD.shape[0], 128)
        shares = _shares(x_ND, weight_VD)
        total = torch.zeros(shares, dtype=torch.float32, device=x_ND.device)
        grad_x = torch.empty_like(x_ND) if wanted else None
        grad_weight = None
        if wanted:
            grad_weight = torch.zeros(
                shares, *weight_VD.shape, dtype=torch.float32, device=x_ND.device
            )

        @torch.no_grad()
        def share(number: int) -> None:
            for start in range(number * rows, x_ND.shape[0], shares * rows):
                part = slice(start, start + rows)
                loss, grad_logits = _chunk(x_ND[part], weight_VD, targets_N[part], shaping, wanted)
                total[number] += loss
                if grad_x is not None and grad_weight is not None and grad_logits is not None:
                    torch.mm(grad_logits, weight_VD, out=grad_x[part])
                    kernels.add_into(grad_weight[number], grad_logits.T @ x_ND[part])

        side_by_side.run(share, shares, shares)
        if grad_x is not None and grad_weight is not None:
            whole = grad_weight[0] if shares == 1 else grad_weight.sum(0)
            ctx.save_for_backward(grad_x, whole.to(weight_VD.dtype))
        return total.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight = ctx.saved_tensors
        # A scale in fp32 stays exact: multiplied by one number, tensors keep their own type.
        return grad_x * grads[0], grad_weight * grads[0], None, None


def _shares(x_ND: Tensor, weight_VD: Tensor) -> int:
    """In how many shares chunks are worked on side by side, each with a sum of its own.

    Two cores that share a product of this size reach 750 GFLOP/s, and one for each 950. With more
    of them, or where work cannot be shared out, all work on one chunk.
    """
    small = fused.suits(x_ND) and weight_VD.numel() <= LARGEST_SUM
    return 2 if small and torch.get_num_threads() == 2 and side_by_side.possible() else 1


def _chunk(
    x_RD: Tensor, weight_VD: Tensor, targets_R: Tensor, shaping: Shaping, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Loss of some rows, and its gradient by their raw logits in the type of ``x``."""
    if wanted and fused.suits(x_RD):
        return _fused_chunk(F.linear(x_RD, weight_VD), targets_R, shaping)
    shaped_RV = shaping(F.linear(x_RD, weight_VD).float())
    counted_R1 = (targets_R != IGNORED)[:, None]
    index_R1 = targets_R.clamp(min=0)[:, None]
    lse_R1 = shaped_RV.logsumexp(dim=-1, keepdim=True)
    loss = ((lse_R1 - shaped_RV.gather(1, index_R1)) * counted_R1).sum()
    if not wanted:
        return loss, None
    grad_RV = (shaped_RV - lse_R1).exp_()
    grad_RV.scatter_add_(1, index_R1, torch.full_like(lse_R1, -1.0))
    grad_RV *= counted_R1
    return loss, shaping.backward(shaped_RV, grad_RV).to(x_RD.dtype)


def _fused_chunk(logits_RV: Tensor, targets_R: Tensor, shaping: Shaping) -> tuple[Tensor, Tensor]:
    """The same, in place of the logits; those of the targets by themselves."""
    rows_R = torch.arange(len(targets_R))
    counts_R, index_R = (targets_R != IGNORED).float(), targets_R.clamp(min=0)
    hit_R = shaping(logits_RV[rows_R, index_R].float())
    lse_R = kernels.cross_entropy_rows(
        logits_RV, counts_R, shaping.multiplier, shaping.softcap or 0.0
    )
    off_R = shaping.backward(hit_R, ((hit_R - lse_R).exp() - 1) * counts_R)
    # Not by scatter_, which copies all of a bf16 tensor to change a few numbers.
    logits_RV[rows_R, index_R] = off_R.to(logits_RV.dtype)
    return ((lse_R - hit_R) * counts_R).sum(), logits_RV
