"""The dense feed-forward network, plain or gated (Shazeer 2020)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.specs.model import Model

Activation = Literal["gelu", "silu", "relu"]


def activate(x: Tensor, kind: Activation) -> Tensor:
    """The activation; GELU is the tanh approximation (Hendrycks and Gimpel 2016), as in Grok."""
    if kind == "gelu":
        return F.gelu(x, approximate="tanh")
    return F.silu(x) if kind == "silu" else F.relu(x)


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
        if self.gate is None:
            x_BTF = activate(x_BTF, self.activation)
        else:
            x_BTF = activate(self.gate(x_BTD), self.activation) * x_BTF
        out: Tensor = self.down(x_BTF)
        return out
