"""The network of `opencolossus.grok` arranged for answering: same weights, same mathematics,
far fewer and larger operations.

A small model on a CPU is bound by the number of operations, not by their size. Here queries, keys
and values are one product, the rotation is one complex product, scale and soft cap are folded into
the query's weights, masks are made once per step, and only experts that were chosen are computed.
Tests hold it equal to `Grok` itself, which remains the definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from opencolossus.grok.block import Block
from opencolossus.grok.cache import Step
from opencolossus.grok.context import temperatures
from opencolossus.grok.feed_forward import activate
from opencolossus.grok.model import Grok
from opencolossus.grok.scores import HIDDEN
from opencolossus.specs.model import Model


class Forward(Protocol):
    """Logits from tokens and what the cache holds of those before."""

    def __call__(self, tokens: Tensor, *, cache: Step, select: Tensor | None = None) -> Tensor: ...


@torch.no_grad()
def arranged(model: Grok, dtype: torch.dtype, device: torch.device) -> Forward:
    """The network itself, or its fast arrangement where there is one."""
    if suits(model.config, dtype, device):
        return FastGrok(model)

    def forward(tokens: Tensor, *, cache: Step, select: Tensor | None = None) -> Tensor:
        logits: Tensor = model(tokens, cache=cache, select=select)
        return logits

    return forward


def suits(model: Model, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the arrangement is known for this network, and pays."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and model.norm == "rms"
        and model.positions == "rope"
        and model.gated
        and not model.biases
        and model.latent_attention is None
    )


@dataclass(frozen=True)
class Shared:
    """What all layers of one pass share."""

    cache: Step
    turns_BT1P: Tensor
    """Rotations as complex numbers."""
    mask_B1TS: Tensor | None
    """0 for visible keys, a large negative number for the others; None: all are visible."""
    temperature_B1T1: Tensor | None
    place: Tensor
    """Where the new keys go in a cache laid flat, [M * N]."""
    whole: bool
    """No row is padded."""


class FastGrok:
    """Logits from a `Grok` and a cache of keys and values."""

    def __init__(self, model: Grok) -> None:
        config = self.config = model.config
        assert model.embed is not None  # a whole network, no pipeline stage
        assert model.norm is not None
        assert model.head is not None
        self._head = model.head
        self._embedding = model.embed.weight
        self._multiplier = config.embedding_multiplier
        self._norm = _weight(model.norm)
        blocks = [block for block in model.blocks.values() if isinstance(block, Block)]
        self._layers = [_Layer(config, block, index) for index, block in enumerate(blocks)]
        exponents = torch.arange(0, config.head_size, 2) / config.head_size
        angles = torch.arange(config.context)[:, None] * config.rope_base**-exponents
        self._turns = torch.polar(torch.ones_like(angles), angles)

    def __call__(self, tokens: Tensor, *, cache: Step, select: Tensor | None = None) -> Tensor:
        """Logits [B, T or R, V] of ``tokens`` [B, T]; see `Grok.forward`."""
        shared = self._share(tokens, cache)
        x_BTD = F.embedding(tokens, self._embedding) * self._multiplier
        for layer in self._layers:
            x_BTD = layer(x_BTD, shared)
        if select is not None:
            x_BTD = x_BTD.gather(1, select[..., None].expand(-1, -1, x_BTD.shape[-1]))
        logits: Tensor = self._head(_rms(x_BTD, self._norm, self.config.norm_epsilon))
        return logits

    def _share(self, tokens: Tensor, cache: Step) -> Shared:
        B, T = tokens.shape
        config, positions = self.config, cache.positions
        keys = cache.key_positions
        mask = None
        if B * T > 1:
            seen = (keys[:, None] <= positions[:, :, None]) & (keys >= 0)[:, None]
            mask = torch.where(seen, 0.0, HIDDEN)[:, None]
        N, capacity = config.kv_heads, cache.cache.capacity
        heads = torch.arange(N) * capacity
        place = (cache.slot_M * N * capacity + cache.place_M)[:, None] + heads
        length = config.attention_temperature_length
        return Shared(
            cache=cache,
            turns_BT1P=self._turns[positions.clamp(max=config.context - 1)][:, :, None],
            mask_B1TS=mask,
            temperature_B1T1=temperatures(positions, length) if length else None,
            place=place.flatten(),
            whole=len(cache.slot_M) == B * T,
        )


class _Layer:
    def __init__(self, model: Model, block: Block, index: int) -> None:
        self.model, self.index = model, index
        self.epsilon = model.norm_epsilon
        self.norms = [
            None if norm is None else _weight(norm)
            for norm in (
                block.attention_norm,
                block.attention_post_norm,
                block.feed_forward_norm,
                block.feed_forward_post_norm,
            )
        ]
        attention = block.attention
        scale = model.attention_multiplier or model.head_size**-0.5
        scale /= model.attention_softcap or 1.0
        query = _interleaved(attention.query.weight * scale, model.head_size)
        key = _interleaved(attention.key.weight, model.head_size)
        self.qkv = torch.cat((query, key, attention.value.weight))
        self.output = attention.output.weight
        self.mixture = None if block.experts is None else _Experts(model, block)
        self.dense = block.feed_forward

    def __call__(self, x_BTD: Tensor, shared: Shared) -> Tensor:
        before, after, before_second, after_second = self.norms
        a_BTD = self._attend(_rms(x_BTD, before, self.epsilon), shared)
        x_BTD = x_BTD + _rms(a_BTD, after, self.epsilon)
        h_BTD = _rms(x_BTD, before_second, self.epsilon)
        if self.mixture is not None:
            m_BTD = self.mixture(h_BTD)
        else:
            assert self.dense is not None  # a block has one or the other
            m_BTD = self.dense(h_BTD)
        return x_BTD + _rms(m_BTD, after_second, self.epsilon)

    def _attend(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        model = self.model
        B, T = h_BTD.shape[:2]
        H, N, K = model.heads, model.kv_heads, model.head_size
        qkv = F.linear(h_BTD, self.qkv).view(B, T, H + 2 * N, K)
        pairs = torch.view_as_complex(qkv[:, :, : H + N].unflatten(-1, (-1, 2)))
        turned = torch.view_as_real(pairs * shared.turns_BT1P).flatten(-2)
        keys, values = self._store(turned[:, :, H:], qkv[:, :, H + N :], shared)
        q = turned[:, :, :H].unflatten(2, (N, H // N)).permute(0, 2, 3, 1, 4)
        scores = torch.bmm(q.reshape(B * N, H // N * T, K), keys.transpose(1, 2))
        scores = scores.view(B, H, T, -1)
        if model.attention_softcap is not None:
            scores = scores.tanh_().mul_(model.attention_softcap)
        if shared.temperature_B1T1 is not None:
            scores = scores * shared.temperature_B1T1
        if shared.mask_B1TS is not None:
            scores = scores.add_(shared.mask_B1TS)
        weights = torch.softmax(scores, -1).view(B * N, H // N * T, -1)
        mixed = torch.bmm(weights, values).view(B, H, T, K)
        return F.linear(mixed.transpose(1, 2).reshape(B, T, H * K), self.output)

    def _store(self, k_BTNK: Tensor, v_BTNK: Tensor, shared: Shared) -> tuple[Tensor, Tensor]:
        step, out = shared.cache, []
        K = k_BTNK.shape[-1]
        for kept, new in (
            (step.cache.keys[self.index], k_BTNK),
            (step.cache.values[self.index], v_BTNK),
        ):
            rows = new if shared.whole else new[step.row_M, step.column_M]
            kept.view(-1, K).index_copy_(0, shared.place, rows.reshape(-1, K))
            out.append(kept[step.slots, :, : step.span].flatten(0, 1))
        return out[0], out[1]


class _Experts:
    def __init__(self, model: Model, block: Block) -> None:
        assert block.experts is not None  # asked for only where they are
        self.model = model
        mixture = block.experts
        router, experts = mixture.router, mixture.experts
        assert experts.gate is not None  # `suits` asks for gated networks
        self.router = router.gate.weight
        self.bias = router.bias if bool(router.bias.any()) else None
        self.first = torch.cat((experts.gate, experts.up), -1).unbind()
        self.second = experts.down.unbind()
        self.inner = experts.down.shape[1]
        self.shared, self.dense = mixture.shared, mixture.dense

    def __call__(self, x_BTD: Tensor) -> Tensor:
        x_ND = x_BTD.flatten(0, 1)
        gates_NJ, chosen_NJ = self._choose(x_ND)
        out = self._routed(x_ND, gates_NJ, chosen_NJ).view_as(x_BTD)
        if self.shared is not None:
            out = out + self.shared(x_BTD)
        if self.dense is not None:
            out = (out + self.dense(x_BTD)) / math.sqrt(2)
        return out

    def _choose(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        model, J = self.model, self.model.experts_per_token
        logits = F.linear(x_ND, self.router)
        if model.router_softcap is not None:
            logits = model.router_softcap * torch.tanh(logits / model.router_softcap)
        shares = torch.softmax(logits, -1)
        if self.bias is None:
            gates, chosen = shares.topk(J, dim=-1)
        else:
            chosen = (shares + self.bias).topk(J, dim=-1).indices
            gates = shares.gather(-1, chosen)
        if model.renormalise_gates:
            gates = gates / gates.sum(-1, keepdim=True)
        return gates, chosen

    def _routed(self, x_ND: Tensor, gates_NJ: Tensor, chosen_NJ: Tensor) -> Tensor:
        D, J = x_ND.shape[1], chosen_NJ.shape[1]
        chosen_M, order_M = chosen_NJ.flatten().sort(stable=True)
        counts = torch.bincount(chosen_M, minlength=len(self.first)).tolist()
        token_M = order_M // J
        rows = x_ND.index_select(0, token_M)
        hidden = rows.new_empty(len(token_M), 2 * self.inner)
        _products(rows, self.first, counts, hidden)
        left, right = hidden.split(self.inner, -1)
        hidden = activate(left, self.model.activation).mul_(right)
        found = rows.new_empty(len(token_M), D)
        _products(hidden, self.second, counts, found)
        found *= gates_NJ.flatten()[order_M][:, None]
        return torch.zeros_like(x_ND).index_add_(0, token_M, found)


def _products(rows: Tensor, weights: tuple[Tensor, ...], counts: list[int], out: Tensor) -> None:
    start = 0
    for weight, count in zip(weights, counts, strict=True):
        if count:
            end = start + count
            torch.mm(rows[start:end], weight, out=out[start:end])
            start = end


def _interleaved(weight: Tensor, head_size: int) -> Tensor:
    """Rows in the order in which a pair that turns together is neighbours.

    Queries and keys are both laid so, and their products do not change.
    """
    halves = weight.view(-1, 2, head_size // 2, weight.shape[-1])
    return halves.transpose(1, 2).flatten(0, 2)


def _weight(norm: torch.nn.Module) -> Tensor:
    weight = norm.weight
    assert isinstance(weight, Tensor)  # `suits` asks for RMS norms
    return weight


def _rms(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    if weight is None:
        return x
    scaled: Tensor = F.rms_norm(x, weight.shape, weight, epsilon)
    return scaled
