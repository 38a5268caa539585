"""Normalisation: computed in fp32 whatever the activations are, then cast back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.specs.model import Model


class RMSNorm(nn.Module):
    """``scale * x / sqrt(mean(x^2) + epsilon)`` (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        scale = self.weight.float()
        return F.rms_norm(x_BTD.float(), scale.shape, scale, self.epsilon).to(x_BTD.dtype)


class LayerNorm(nn.Module):
    """``weight * (x - mean) / sqrt(variance + epsilon) + bias`` (Ba, Kiros and Hinton 2016)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x_BTD.float(), weight.shape, weight, bias, self.epsilon).to(x_BTD.dtype)


def build_norm(model: Model) -> RMSNorm | LayerNorm:
    """The norm that the model asks for, over its width."""
    kind = RMSNorm if model.norm == "rms" else LayerNorm
    return kind(model.width, model.norm_epsilon)
