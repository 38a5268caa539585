"""Self-attention with grouped key-value heads (Ainslie et al. 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from opencolossus.grok.context import Context
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
        q_BHTK = self._heads(self.query(x_BTD))
        k_BNTK = self._heads(self.key(x_BTD))
        v_BNSK = self._heads(self.value(x_BTD))
        if context.rotary is not None:
            q_BHTK, k_BNTK = rotate(q_BHTK, context.rotary), rotate(k_BNTK, context.rotary)
        k_BNSK = k_BNTK
        if context.cache is not None:
            k_BNSK, v_BNSK = context.cache.extend(self.layer, k_BNTK, v_BNSK)
        y_BHTK: Tensor = self.core(q_BHTK, k_BNSK, v_BNSK, context)
        out: Tensor = self.output(y_BHTK.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x_BTI: Tensor) -> Tensor:
        B, T, inner = x_BTI.shape
        return x_BTI.view(B, T, inner // self.head_size, self.head_size).transpose(1, 2)
