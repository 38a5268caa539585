"""Normalisation: computed in fp32 whatever the activations are, then cast back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.grok import fused, kernels
from opencolossus.specs.model import Model


class RMSNorm(nn.Module):
    """``scale * x / sqrt(mean(x^2) + epsilon)`` (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        if fused.suits(x_BTD, self.weight):
            y: Tensor = _FusedRMSNorm.apply(x_BTD, self.weight, self.epsilon)  # type: ignore[no-untyped-call]
            return y
        scale = self.weight.float()
        return F.rms_norm(x_BTD.float(), scale.shape, scale, self.epsilon).to(x_BTD.dtype)


class _FusedRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        ctx.save_for_backward(x_ND, weight_D)
        ctx.epsilon = epsilon
        return kernels.rms_norm(x_ND, weight_D, epsilon).view_as(x_BTD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x_ND, weight_D = ctx.saved_tensors
        grad_ND = grads[0].reshape(x_ND.shape)
        grad_x, grad_weight = kernels.rms_norm_gradient(x_ND, weight_D, grad_ND, ctx.epsilon)
        return grad_x.view_as(grads[0]), grad_weight, None


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
