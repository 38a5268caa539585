"""From token ids to hidden states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.specs.model import Model


class Embedding(nn.Module):
    """A row per token times the embedding multiplier, plus a row per position if these are learned.

    Positions at or past the context length take the last row.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.multiplier = model.embedding_multiplier
        self.weight = nn.Parameter(torch.empty(model.vocabulary, model.width))
        learned = model.positions == "learned"
        self.positions = nn.Parameter(torch.empty(model.context, model.width)) if learned else None

    def forward(self, tokens_BT: Tensor, positions_BT: Tensor) -> Tensor:
        x_BTD = F.embedding(tokens_BT, self.weight)
        x_BTD = x_BTD * self.multiplier if self.multiplier != 1.0 else x_BTD
        if self.positions is not None:
            place = positions_BT.clamp(0, self.positions.shape[0] - 1)
            x_BTD = x_BTD + F.embedding(place, self.positions)
        return x_BTD
