"""From hidden states to logits, and to the loss without ever holding all logits."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.grok.cross_entropy import IGNORED, Shaping, linear_cross_entropy
from opencolossus.specs.model import Model


class TokenLoss(NamedTuple):
    """Cross entropy in nats, summed over the tokens that count, and how many these are."""

    total: Tensor
    tokens: Tensor


class Head(nn.Module):
    """The output projection; its weight [V, D] may be the embedding's."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(model.vocabulary, model.width))
        self.shaping = Shaping(model.output_multiplier, model.logit_softcap)

    def forward(self, x_BTD: Tensor, targets_BT: Tensor | None = None) -> Tensor | TokenLoss:
        """Logits [B, T, V], or with targets the summed loss."""
        if targets_BT is None:
            return self.shaping(F.linear(x_BTD, self.weight))
        targets_N = targets_BT.flatten()
        total = linear_cross_entropy(x_BTD.flatten(0, 1), self.weight, targets_N, self.shaping)
        return TokenLoss(total, (targets_N != IGNORED).sum())
