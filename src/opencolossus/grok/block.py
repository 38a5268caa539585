"""One layer: attention, then a dense or sparse feed-forward network, each added to its input."""

from __future__ import annotations

from torch import Tensor, nn

from opencolossus.grok.attention import Attention
from opencolossus.grok.context import Context
from opencolossus.grok.experts import MixtureOfExperts
from opencolossus.grok.feed_forward import FeedForward
from opencolossus.grok.norms import build_norm
from opencolossus.specs.model import Model


class Block(nn.Module):
    """A transformer layer; with sandwich norms each output is normalised before it is added."""

    def __init__(self, model: Model, layer: int) -> None:
        super().__init__()
        sandwich = model.norm_placement == "sandwich"
        sparse = model.experts > 0 and layer >= model.dense_layers
        self.attention_norm = build_norm(model)
        self.attention = Attention(model, layer)
        self.attention_post_norm = build_norm(model) if sandwich else None
        self.feed_forward_norm = build_norm(model)
        self.feed_forward = None if sparse else FeedForward(model, model.feed_forward)
        self.experts = MixtureOfExperts(model) if sparse else None
        self.feed_forward_post_norm = build_norm(model) if sandwich else None

    def forward(
        self, x_BTD: Tensor, context: Context, losses: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The next hidden state [B, T, D], and the router losses [2] so far plus this layer's."""
        a_BTD: Tensor = self.attention(self.attention_norm(x_BTD), context)
        if self.attention_post_norm is not None:
            a_BTD = self.attention_post_norm(a_BTD)
        x_BTD = x_BTD + a_BTD
        m_BTD, added = self._feed_forward(self.feed_forward_norm(x_BTD))
        if self.feed_forward_post_norm is not None:
            m_BTD = self.feed_forward_post_norm(m_BTD)
        if added is not None:
            losses = added if losses is None else losses + added
        return x_BTD + m_BTD, losses

    def _feed_forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.experts is not None:
            out: tuple[Tensor, Tensor] = self.experts(x_BTD)
            return out
        assert self.feed_forward is not None  # a block has one or the other
        dense: Tensor = self.feed_forward(x_BTD)
        return dense, None
