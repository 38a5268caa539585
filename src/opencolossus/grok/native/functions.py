"""Functions of `kernels.py` by their twins in `kernels.cpp`; None where these do not fit."""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

import torch
from torch import Tensor

from opencolossus.grok.native.build import NoCompilerError, load

SOURCE = Path(__file__).parent / "kernels.cpp"
SUFFIXES = {torch.float32: "32", torch.bfloat16: "16", torch.int64: "64"}
FLOATS = (torch.float32, torch.bfloat16)
SHARES = 64
"""Parts in which the rows of a norm are added up, however many threads do it."""

log = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None, with a warning, where nothing can be compiled."""
    try:
        return load(SOURCE)
    except NoCompilerError as error:
        log.warning("no functions in C++, training is slower: %s", error)
        return None


def rms_norm(x_ND: Tensor, weight_D: Tensor, epsilon: float) -> Tensor | None:
    """See `kernels.rms_norm`."""
    if not fit(x_ND) or not fit(weight_D, torch.float32):
        return None
    out = torch.empty_like(x_ND)
    call("rms_norm", x_ND, weight_D, out, *x_ND.shape, floats=(epsilon,))
    return out


def rms_norm_gradient(
    x_ND: Tensor, weight_D: Tensor, grad_ND: Tensor, epsilon: float
) -> tuple[Tensor, Tensor] | None:
    """See `kernels.rms_norm_gradient`."""
    if not fit(x_ND) or not fit(weight_D, torch.float32) or not fit(grad_ND, x_ND.dtype):
        return None
    grad_x, shares = torch.empty_like(x_ND), weight_D.new_empty(SHARES, len(weight_D))
    sizes = (SHARES, *x_ND.shape)
    call("rms_norm_gradient", x_ND, weight_D, grad_ND, grad_x, shares, *sizes, floats=(epsilon,))
    return grad_x, shares.sum(0)


def gated(gate: Tensor, up: Tensor, kind: str) -> Tensor | None:
    """See `kernels.gelu_gated` and `kernels.silu_gated`."""
    width, stride = gate.shape[-1], _stride(gate, up)
    if stride is None:
        return None
    out = torch.empty(gate.shape, dtype=gate.dtype)
    call("gated", gate, up, out, gate.numel() // width, width, stride, int(kind == "silu"))
    return out


def gated_gradient(
    gate: Tensor, up: Tensor, grad: Tensor, kind: str
) -> tuple[Tensor, Tensor] | None:
    """See `kernels.gated_gradient`."""
    stride, width = _stride(gate, up), gate.shape[-1]
    if stride != width or not fit(grad, gate.dtype):
        return None
    grads = torch.empty_like(gate), torch.empty_like(up)
    sizes = (gate.numel() // width, width, width, int(kind == "silu"))
    call("gated_gradient", gate, up, grad, *grads, None, *sizes)
    return grads


def gated_gradient_joined(
    both_MI: Tensor, grad_MF: Tensor, kind: str
) -> tuple[Tensor, Tensor] | None:
    """See `kernels.gated_gradient_joined`."""
    if not fit(both_MI) or not fit(grad_MF, both_MI.dtype):
        return None
    grads, again = torch.empty_like(both_MI), torch.empty_like(grad_MF)
    sizes = (*grad_MF.shape, both_MI.shape[1], int(kind == "silu"))
    halves = (*both_MI.chunk(2, dim=1), grad_MF, *grads.chunk(2, dim=1))
    call("gated_gradient", *halves, again, *sizes)
    return grads, again


def cross_entropy_rows(
    logits_RV: Tensor, counts_R: Tensor, multiplier: float, softcap: float
) -> Tensor | None:
    """See `kernels.cross_entropy_rows`."""
    if not fit(logits_RV) or not fit(counts_R, torch.float32):
        return None
    lse_R = torch.empty_like(counts_R)
    numbers = (multiplier, softcap)
    call("cross_entropy_rows", logits_RV, counts_R, lse_R, *logits_RV.shape, floats=numbers)
    return lse_R


def add_into(sums: Tensor, part: Tensor) -> Tensor | None:
    """See `kernels.add_into`."""
    if not fit(part) or not fit(sums, torch.float32) or not part.numel():
        return None
    width = part.shape[-1]
    call("add_into", part, sums, part.numel() // width, width)
    return sums


def softmax_block(
    products_GRL: Tensor, first_GR: Tensor, scale: float, softcap: float, hidden: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """See `kernels.softmax_block`; what is hidden weighs nothing, whatever its score."""
    if not fit(products_GRL) or not fit(first_GR, torch.int32):
        return None
    weights = torch.empty_like(products_GRL)
    totals, lse = (torch.empty(first_GR.shape) for _ in range(2))
    ends = (*products_GRL.shape,)
    call(
        "softmax_block",
        products_GRL,
        first_GR,
        weights,
        totals,
        lse,
        *ends,
        floats=(scale, softcap),
    )
    return weights, totals, lse


def softmax_block_gradient(
    products_GRL: Tensor,
    first_GR: Tensor,
    lse_GR: Tensor,
    grad_weights_GRL: Tensor,
    dot_GR: Tensor,
    scale: float,
    softcap: float,
    hidden: float,
) -> tuple[Tensor, Tensor] | None:
    """See `kernels.softmax_block_gradient`."""
    dtype, sums = products_GRL.dtype, (lse_GR, dot_GR)
    if not fit(products_GRL) or not fit(first_GR, torch.int32):
        return None
    if not fit(grad_weights_GRL, dtype) or not all(fit(x, torch.float32) for x in sums):
        return None
    weights, grad = torch.empty_like(products_GRL), torch.empty_like(products_GRL)
    read = (products_GRL, first_GR, lse_GR, grad_weights_GRL, dot_GR)
    numbers = (scale, softcap)
    call("softmax_block_gradient", *read, weights, grad, *products_GRL.shape, floats=numbers)
    return weights, grad


def fit(x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether it lies in memory as the functions read it: of one type, without gaps."""
    known = x.dtype in FLOATS if dtype is None else x.dtype == dtype
    return known and x.is_contiguous() and library() is not None


def _stride(gate: Tensor, up: Tensor) -> int | None:
    """From row to row of both, if they are rows of a whole; else None."""
    if gate.dtype not in FLOATS or gate.dtype != up.dtype or library() is None:
        return None
    if gate.is_contiguous() and up.is_contiguous():
        return gate.shape[-1]
    rows = gate.ndim == 2 and gate.stride() == up.stride() and gate.stride(1) == 1
    return gate.stride(0) if rows else None


def call(
    name: str, first: Tensor, *others: Tensor | int | None, floats: tuple[float, ...] = ()
) -> None:
    """Call the function for the type of ``first``."""
    called(f"{name}_{SUFFIXES[first.dtype]}", *map(plain, (first, *others)), floats=floats)


def called(name: str, *arguments: object, floats: tuple[float, ...]) -> None:
    """Call a function of the library, with as many threads as PyTorch has."""
    threads = ctypes.c_int64(torch.get_num_threads())
    getattr(library(), name)(*arguments, threads, *map(ctypes.c_float, floats))


def plain(x: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    """As C sees it: an address, or a whole number."""
    if isinstance(x, int):
        return ctypes.c_int64(x)
    return ctypes.c_void_p(None if x is None else x.data_ptr())
