"""Elementwise work between the matrix products, forward and gradient, as plain functions.

Written to be compiled (`fused.small`): fp32 inside, the type of the activations outside. Those that
take the most time have a twin in C++ (`native/kernels.cpp`), of which they are the definition. None
is differentiated by autograd; the modules that use them join each to its gradient.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from opencolossus.grok.fused import small, twin
from opencolossus.grok.native import functions, routing

GELU_SCALE = 0.7978845608028654
"""sqrt(2 / pi), of the tanh approximation of GELU."""


def tanh(x: Tensor) -> Tensor:
    """By the ninth convergent of Lambert's continued fraction (1768), clamped to 1.

    No exponential. Wrong by less than 2e-7 up to 2, and by 6e-6 at most, near 5.
    """
    y = x * x
    top = x * (34459425 + y * (4729725 + y * (135135 + y * (990 + y))))
    bottom = 34459425 + y * (16216200 + y * (945945 + y * (13860 + y * 45)))
    return (top / bottom).clamp(-1, 1)


@twin(functions.rms_norm)
@small
def rms_norm(x_ND: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """``weight * x / rms(x)``."""
    x = x_ND.float()
    inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
    return (x * inverse * weight_D.float()).to(x_ND.dtype)


@twin(functions.rms_norm_gradient)
@small
def rms_norm_gradient(
    x_ND: Tensor, weight_D: Tensor, grad_ND: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Gradients by x and by the weight."""
    x, grad = x_ND.float(), grad_ND.float()
    inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
    unit = x * inverse
    scaled = grad * weight_D.float()
    grad_x = inverse * (scaled - unit * (scaled * unit).mean(-1, keepdim=True))
    return grad_x.to(x_ND.dtype), (grad * unit).sum(0).to(weight_D.dtype)


@small
def turn(x_BTHK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, and heads before tokens: [B, T, H, K] to [B, H, T, K]."""
    first, second = x_BTHK.transpose(1, 2).float().chunk(2, dim=-1)
    out = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return out.to(x_BTHK.dtype).contiguous()


@small
def turn_back(grad_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Gradient of `turn`: the turn by the negative angle, tokens before heads."""
    first, second = grad_BHTK.float().chunk(2, dim=-1)
    out = torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)
    return out.to(grad_BHTK.dtype).transpose(1, 2).contiguous()


@twin(partial(functions.gated, kind="gelu"))
@small
def gelu_gated(gate: Tensor, up: Tensor) -> Tensor:
    """``gelu(gate) * up``."""
    a = gate.float()
    cubic = GELU_SCALE * (a + 0.044715 * a * a * a)
    return (a / (1 + torch.exp(-2 * cubic)) * up.float()).to(gate.dtype)


def _gelu_gradient(gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, u, g = gate.float(), up.float(), grad.float()
    cubic = GELU_SCALE * (a + 0.044715 * a * a * a)
    share = 1 / (1 + torch.exp(-2 * cubic))
    slope = share + 2 * a * share * (1 - share) * GELU_SCALE * (1 + 3 * 0.044715 * a * a)
    dtype = gate.dtype
    return (g * u * slope).to(dtype), (g * a * share).to(dtype), (a * share * u).to(dtype)


@twin(partial(functions.gated, kind="silu"))
@small
def silu_gated(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``."""
    a = gate.float()
    return (a / (1 + torch.exp(-a)) * up.float()).to(gate.dtype)


def _silu_gradient(gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, u, g = gate.float(), up.float(), grad.float()
    share = 1 / (1 + torch.exp(-a))
    slope = share * (1 + a * (1 - share))
    dtype = gate.dtype
    return (g * u * slope).to(dtype), (g * a * share).to(dtype), (a * share * u).to(dtype)


_GRADIENTS = {"gelu": _gelu_gradient, "silu": _silu_gradient}


@twin(functions.gated_gradient)
@small
def gated_gradient(gate: Tensor, up: Tensor, grad: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Gradients by gate and up of ``gelu`` or ``silu``."""
    return _GRADIENTS[kind](gate, up, grad)[:2]


@twin(functions.gated_gradient_joined)
@small
def gated_gradient_joined(both_MI: Tensor, grad_MF: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """The same, of gate and up side by side; and the output once more, for down's gradient."""
    gate_MF, up_MF = both_MI.chunk(2, dim=1)
    grad_gate, grad_up, out = _GRADIENTS[kind](gate_MF, up_MF, grad_MF)
    return torch.cat((grad_gate, grad_up), dim=1), out


@twin(functions.softmax_block)
@small
def softmax_block(
    products_GRL: Tensor, first_GR: Tensor, scale: float, softcap: float, hidden: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of R queries for the L keys up to the last of them, before they are divided by
    their sums; these sums; and the log of the whole.

    Query r is the (L - R + r)-th token; it sees keys from ``first_GR`` to itself. No cap if
    ``softcap`` is 0.
    """
    scores = _scores(products_GRL, first_GR, scale, softcap, hidden)[0]
    # The exponential of a capped score fits as it is; the largest need not be known first.
    top = 0.0 if 0 < softcap <= 60 else scores.amax(-1, keepdim=True)
    weights = torch.exp(scores - top)
    total = weights.sum(-1, keepdim=True)
    lse = top + torch.log(total)
    return weights.to(products_GRL.dtype), total.squeeze(-1), lse.squeeze(-1)


@small
def divide(rows: Tensor, by: Tensor, out: Tensor) -> None:
    """Each row [..., K] by its number, into ``out``."""
    out.copy_(rows.float() / by[..., None])


@twin(functions.softmax_block_gradient)
@small
def softmax_block_gradient(
    products_GRL: Tensor,
    first_GR: Tensor,
    lse_GR: Tensor,
    grad_weights_GRL: Tensor,
    dot_GR: Tensor,
    scale: float,
    softcap: float,
    hidden: float,
) -> tuple[Tensor, Tensor]:
    """The weights once more, and the gradient by the raw products (of queries and keys)."""
    scores, slope = _scores(products_GRL, first_GR, scale, softcap, hidden)
    weights = torch.exp(scores - lse_GR[..., None])
    grad = weights * (grad_weights_GRL.float() - dot_GR[..., None]) * slope
    return weights.to(products_GRL.dtype), grad.to(products_GRL.dtype)


def _scores(
    products_GRL: Tensor, first_GR: Tensor, scale: float, softcap: float, hidden: float
) -> tuple[Tensor, Tensor | float]:
    """Scores of visible keys (others ``hidden``), and their slope by the products."""
    R, L = products_GRL.shape[1:]
    scores = products_GRL.float() * scale
    slope: Tensor | float = scale
    if softcap > 0:
        bent = tanh(scores / softcap)
        scores, slope = softcap * bent, scale * (1 - bent * bent)
    key = torch.arange(L, device=scores.device, dtype=torch.int32)
    query = torch.arange(L - R, L, device=scores.device, dtype=torch.int32)[:, None]
    seen = (key <= query) & (key >= first_GR[..., None])
    return torch.where(seen, scores, hidden), slope


@small
def row_dots(a_GRK: Tensor, b_GRK: Tensor) -> Tensor:
    """Dot product of each pair of rows, in fp32."""
    return (a_GRK.float() * b_GRK.float()).sum(-1)


@twin(functions.cross_entropy_rows)
@small
def cross_entropy_rows(
    logits_RV: Tensor, counts_R: Tensor, multiplier: float, softcap: float
) -> Tensor:
    """Log of the sum of exponentials of each row; its gradient takes the place of the raw logits.

    That is the loss and its gradient but for the target's own logit. Rows where ``counts_R`` is 0
    have no gradient.
    """
    shaped = logits_RV.float() * multiplier
    slope: Tensor | float = multiplier
    if softcap > 0:
        bent = tanh(shaped / softcap)
        shaped, slope = softcap * bent, multiplier * (1 - bent * bent)
    top = shaped.amax(-1, keepdim=True)
    weights = torch.exp(shaped - top)
    total = weights.sum(-1, keepdim=True)
    logits_RV.copy_(weights * (counts_R[:, None] / total) * slope)
    return (top + torch.log(total)).squeeze(-1)


@twin(functions.add_into)
@small
def add_into(sums: Tensor, part: Tensor) -> Tensor:
    """Add to sums of a wider type in one pass; gives them back."""
    return sums.add_(part.to(sums.dtype))


def count(numbers_M: Tensor, end: int) -> Tensor:
    """How often each number below ``end`` occurs; unlike `bincount` no host waits for a GPU."""
    return numbers_M.new_zeros(end).scatter_add_(0, numbers_M, torch.ones_like(numbers_M))


@twin(routing.sort_choices)
def sort_choices(experts_NJ: Tensor, counts_E: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Sort choices by expert, those of one in the order of their tokens.

    Expert e has ``counts_E[e]`` of the rows, at least one for each choice. Gives the token [M] of
    each row, 0 where no choice came, and the row [N, J] that each choice became.
    """
    expert_M = experts_NJ.flatten()
    order_M = expert_M.argsort(stable=True)
    sorted_M = expert_M[order_M]
    chosen_E = count(expert_M, len(counts_E))
    ahead_E = (counts_E - chosen_E).cumsum(0) - (counts_E - chosen_E)
    row_M = torch.arange(len(order_M), device=order_M.device) + ahead_E[sorted_M]
    place_NJ = torch.empty_like(order_M).scatter_(0, order_M, row_M).view_as(experts_NJ)
    return order_M.new_zeros(rows).scatter_(0, row_M, order_M // experts_NJ.shape[1]), place_NJ


@twin(routing.gather_sum)
@small
def gather_sum(rows_MD: Tensor, place_NJ: Tensor) -> Tensor:
    """Sum over J of the rows at ``place_NJ``."""
    return rows_MD[place_NJ].float().sum(1).to(rows_MD.dtype)


@twin(routing.gather_weighted)
@small
def gather_weighted(rows_MD: Tensor, place_NJ: Tensor, gates_NJ: Tensor) -> Tensor:
    """Sum over J of gate times the row at ``place_NJ``."""
    return (rows_MD[place_NJ].float() * gates_NJ[..., None]).sum(1).to(rows_MD.dtype)


@twin(routing.gather_weighted_gradient)
@small
def gather_weighted_gradient(
    rows_MD: Tensor, place_NJ: Tensor, gates_NJ: Tensor, grad_ND: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients by the rows, zero where none stands, and by the gates."""
    grad_N1D = grad_ND[:, None].float()
    grad_rows = torch.zeros_like(rows_MD)
    grad_rows[place_NJ] = (grad_N1D * gates_NJ[..., None]).to(rows_MD.dtype)
    return grad_rows, (rows_MD[place_NJ].float() * grad_N1D).sum(-1)
