"""Attention of queries to keys: one function, computed in the cheapest way its options allow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from opencolossus.grok import flex_attention, fused
from opencolossus.grok.block_attention import block_attention

HIDDEN = -1e30
"""Score of an invisible key: finite, so that a row without visible keys stays a number."""


@dataclass(frozen=True)
class Scoring:
    """How a score is made of a query and a key."""

    scale: float
    softcap: float | None = None
    """c in ``c * tanh(score / c)``, applied before the temperature and the mask."""


def attend(
    q_BHTK: Tensor,
    k_BNSK: Tensor,
    v_BNSK: Tensor,
    scoring: Scoring,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    temperature: Tensor | None = None,
    first: Tensor | None = None,
) -> Tensor:
    """Softmax-weighted values [B, H, T, K]; query head i reads key head ``i // (H / N)``.

    Args:
        mask: visible keys, [B or 1, 1, T, S] booleans.
        causal: key j is invisible to query i < j, by index.
        temperature: factor [B or 1, 1, T, 1] of the capped scores.
        first: says the same as ``mask`` and ``causal`` where each query sees the keys from this
            index [B, T] to its own.
    """
    if first is not None:
        # Where neither cap nor documents are, PyTorch's own kernel is the fastest on a GPU.
        special = scoring.softcap is not None or mask is not None
        fast = _by_blocks(q_BHTK, k_BNSK, v_BNSK, first, scoring, temperature, special)
        if fast is not None:
            return fast
        # The mask holds what `causal` says.
        causal = causal and mask is None
    if scoring.softcap is None and (mask is None or not causal):
        q_BHTK = q_BHTK if temperature is None else q_BHTK * temperature.to(q_BHTK.dtype)
        return F.scaled_dot_product_attention(
            q_BHTK,
            k_BNSK,
            v_BNSK,
            attn_mask=mask,
            is_causal=causal,
            scale=scoring.scale,
            enable_gqa=q_BHTK.shape[1] != k_BNSK.shape[1],
        )
    return attend_eagerly(q_BHTK, k_BNSK, v_BNSK, scoring, mask, causal, temperature)


def _by_blocks(
    q_BHTK: Tensor,
    k_BNSK: Tensor,
    v_BNSK: Tensor,
    first: Tensor,
    scoring: Scoring,
    temperature: Tensor | None,
    special: bool,
) -> Tensor | None:
    """By a form that skips invisible keys, if the device has one."""
    cap, scale = scoring.softcap or 0.0, scoring.scale
    if temperature is None and fused.suits(q_BHTK, k_BNSK, v_BNSK):
        return block_attention(q_BHTK, k_BNSK, v_BNSK, first, scale, cap, HIDDEN)
    if special and flex_attention.usable(q_BHTK):
        out: Tensor | None = flex_attention.flex_attention(
            q_BHTK, k_BNSK, v_BNSK, first, scale, cap, temperature
        )
        return out
    return None


def attend_eagerly(
    q_BHTK: Tensor,
    k_BNSK: Tensor,
    v_BNSK: Tensor,
    scoring: Scoring,
    mask: Tensor | None,
    causal: bool,
    temperature: Tensor | None,
) -> Tensor:
    """The definition: every score is formed, softmax in fp32."""
    B, H, T, K = q_BHTK.shape
    N, S = k_BNSK.shape[1:3]
    # Query heads that share a key head become more rows of one product.
    q_BNQK = q_BHTK.reshape(B, N, H // N * T, K)
    scores = (q_BNQK @ k_BNSK.transpose(-1, -2)).float().view(B, H, T, S) * scoring.scale
    if scoring.softcap is not None:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    if temperature is not None:
        scores = scores * temperature
    if causal:
        behind = torch.ones(T, S, dtype=torch.bool, device=scores.device).tril()
        mask = behind if mask is None else mask & behind
    if mask is not None:
        scores = scores.masked_fill(~mask, HIDDEN)
    weights_BHTS = scores.softmax(dim=-1).to(v_BNSK.dtype)
    return (weights_BHTS.view(B, N, H // N * T, S) @ v_BNSK).view(B, H, T, K)
