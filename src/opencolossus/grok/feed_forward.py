"""The dense feed-forward network, plain or gated (Shazeer 2020)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.grok import fused, kernels
from opencolossus.specs.model import Model

Activation = Literal["gelu", "silu", "relu"]


def activate(x: Tensor, kind: Activation) -> Tensor:
    """The activation; GELU is the tanh approximation (Hendrycks and Gimpel 2016), as in Grok."""
    if kind == "gelu":
        return F.gelu(x, approximate="tanh")
    return F.silu(x) if kind == "silu" else F.relu(x)


GATED = {"gelu": kernels.gelu_gated, "silu": kernels.silu_gated}
"""Gated activations with a fused form."""


def gated(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    """``act(gate) * up`` in one pass; the activation is one of `GATED`."""
    out: Tensor = _Gated.apply(gate, up, activation)  # type: ignore[no-untyped-call]
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: str) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return GATED[activation](gate, up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        gate, up = ctx.saved_tensors
        return *kernels.gated_gradient(gate, up, grads[0].contiguous(), ctx.activation), None


class FeedForward(nn.Module):
    """``(act(x gate) * x up) down``, or ``act(x up) down`` where the model is not gated."""

    def __init__(self, model: Model, inner: int) -> None:
        super().__init__()
        self.activation: Activation = model.activation
        self.gate = nn.Linear(model.width, inner, bias=model.biases) if model.gated else None
        self.up = nn.Linear(model.width, inner, bias=model.biases)
        self.down = nn.Linear(inner, model.width, bias=model.biases)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTF = self.up(x_BTD)
        if self.gate is not None and self.activation in GATED and fused.suits(x_BTF):
            x_BTF = gated(self.gate(x_BTD), x_BTF, self.activation)
        elif self.gate is None:
            x_BTF = activate(x_BTF, self.activation)
        else:
            x_BTF = activate(self.gate(x_BTD), self.activation) * x_BTF
        out: Tensor = self.down(x_BTF)
        return out
