"""Attention of packed documents, or with a cap, on a GPU: PyTorch's FlexAttention (He et al. 2024).

PyTorch's fused attention has no soft cap, and reads a mask of packed documents in full.
FlexAttention compiles a cap from the function of a score, and skips the blocks of keys that a mask
leaves empty. Compiled once per process; where that
fails, the caller is told to take the plain form, and a warning says why.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config
from torch import Tensor

from opencolossus.grok.fused import why

log = logging.getLogger(__name__)

_failed = False


def usable(q_BHTK: Tensor) -> bool:
    """Whether to try: on a GPU with Triton, and not after it failed."""
    return q_BHTK.device.type == "cuda" and not _failed


@torch.compiler.disable(reason="compiles by itself, and decides in Python where that fails")  # type: ignore[untyped-decorator]
def flex_attention(
    q_BHTK: Tensor,
    k_BNTK: Tensor,
    v_BNTK: Tensor,
    first_BT: Tensor,
    scale: float,
    softcap: float,
    temperature: Tensor | None = None,
) -> Tensor | None:
    """Softmax-weighted values [B, H, T, K], or None where FlexAttention cannot compute them.

    Args:
        first_BT: index of the first visible key of each query; the last is its own.
        softcap: 0 for none.
        temperature: factor [B or 1, 1, T, 1] of the capped scores.
    """
    global _failed
    factor_BT = None if temperature is None else temperature[:, 0, :, 0].expand_as(first_BT)

    def score(value: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if softcap:
            value = softcap * torch.tanh(value / softcap)
        return value if factor_BT is None else value * factor_BT[b, i]

    try:
        out: Tensor = _attention(q_BHTK.device.type)(
            q_BHTK,
            k_BNTK,
            v_BNTK,
            score_mod=score if softcap or factor_BT is not None else None,
            block_mask=_mask(first_BT),
            scale=scale,
            enable_gqa=q_BHTK.shape[1] != k_BNTK.shape[1],
        )
    except torch.OutOfMemoryError:
        raise  # the plain form takes more
    except (RuntimeError, NotImplementedError) as error:
        # Compiling may fail in many ways; all of them end in the plain form.
        _failed = True
        log.warning("FlexAttention does not run here, attention is slower: %s", why(error))
        return None
    return out


@functools.cache
def _attention(device: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention as flex

    if device != "cuda":
        return flex
    # Else a gradient that cannot be compiled would be found out in the backward pass, too late.
    torch._functorch.config.force_non_lazy_backward_lowering = True
    compiled: Callable[..., Any] = torch.compile(flex)
    return compiled


class _Masks:
    """The block mask of the batch at hand: all layers of a pass ask for the same one."""

    first: Tensor | None = None
    mask: Any = None


def _mask(first_BT: Tensor) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    if _Masks.first is not first_BT:

        def visible(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return (j <= i) & (j >= first_BT[b, i])

        B, T = first_BT.shape
        on_gpu = first_BT.device.type == "cuda"  # compiled, no mask of T x T is ever formed
        _Masks.mask = create_block_mask(
            visible, B, None, T, T, device=str(first_BT.device), _compile=on_gpu
        )
        _Masks.first = first_BT
    return _Masks.mask
