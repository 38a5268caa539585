"""Self-attention with grouped key-value heads (Ainslie et al. 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.grok import fused
from opencolossus.grok.context import Context
from opencolossus.grok.native import attention as native
from opencolossus.grok.rotary import rotate
from opencolossus.grok.scores import Scoring, attend
from opencolossus.specs.model import Model


class Core(nn.Module):
    """The part without weights, a module of its own so that context parallelism can wrap it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        scale = model.attention_multiplier or model.head_size**-0.5
        self.scoring = Scoring(scale=scale, softcap=model.attention_softcap)

    def forward(self, q_BHTK: Tensor, k_BNSK: Tensor, v_BNSK: Tensor, context: Context) -> Tensor:
        return attend(
            q_BHTK,
            k_BNSK,
            v_BNSK,
            self.scoring,
            mask=context.mask,
            causal=context.causal,
            temperature=context.temperature,
            first=context.first,
        )


class Attention(nn.Module):
    """Project to heads, turn by position, attend, project back.

    Heads are counted from the projections' outputs, not from the model, so that a tensor-parallel
    shard with a part of the heads is computed by the same code.
    """

    def __init__(self, model: Model, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_size = model.head_size
        inner, inner_kv = model.heads * model.head_size, model.kv_heads * model.head_size
        self.query = nn.Linear(model.width, inner, bias=model.biases)
        self.key = nn.Linear(model.width, inner_kv, bias=model.biases)
        self.value = nn.Linear(model.width, inner_kv, bias=model.biases)
        self.output = nn.Linear(inner, model.width, bias=model.biases)
        self.core = Core(model)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        way = self._joined if self._can_join(x_BTD, context) else self._apart
        out: Tensor = self.output(way(x_BTD, context))
        return out

    def _apart(self, x_BTD: Tensor, context: Context) -> Tensor:
        q_BHTK = self._heads(self.query(x_BTD))
        k_BNTK = self._heads(self.key(x_BTD))
        v_BNSK = self._heads(self.value(x_BTD))
        if context.rotary is not None:
            q_BHTK, k_BNTK = rotate(q_BHTK, context.rotary), rotate(k_BNTK, context.rotary)
        k_BNSK = k_BNTK
        if context.cache is not None:
            k_BNSK, v_BNSK = context.cache.extend(self.layer, k_BNTK, v_BNSK)
        y_BHTK: Tensor = self.core(q_BHTK, k_BNSK, v_BNSK, context)
        return y_BHTK.transpose(1, 2).flatten(2)

    def _can_join(self, x_BTD: Tensor, context: Context) -> bool:
        """Whether one product and one pass after it can do all that stands before the output."""
        if context.first is None or context.temperature is not None:
            return False
        # Linear layers of another kind compute in float8.
        layers = (self.query, self.key, self.value)
        plain = all(type(x) is nn.Linear and fused.suits(x.weight) for x in layers)
        return plain and fused.suits(x_BTD) and native.usable(x_BTD, self.head_size)

    def _joined(self, x_BTD: Tensor, context: Context) -> Tensor:
        layers, scoring = (self.query, self.key, self.value), self.core.scoring
        weight = torch.cat(tuple(layer.weight for layer in layers))
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        heads, kv_heads = (x.weight.shape[0] // self.head_size for x in (self.query, self.key))
        form = native.Form(heads, kv_heads, self.head_size, scoring.scale, scoring.softcap or 0.0)
        x_BTI = F.linear(x_BTD, weight, torch.cat(biases) if biases else None)
        assert context.first is not None  # else nothing is joined
        return native.attention(x_BTI, context.first, context.rotary, form)

    def _heads(self, x_BTI: Tensor) -> Tensor:
        B, T, inner = x_BTI.shape
        return x_BTI.view(B, T, inner // self.head_size, self.head_size).transpose(1, 2)
