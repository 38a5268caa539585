"""Mixture of experts without dropped tokens: sort tokens by expert, one product per expert."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from opencolossus.grok import grouped_products
from opencolossus.grok.dispatch import Order, to_experts, to_tokens
from opencolossus.grok.expert_products import MULTIPLE, expert_products
from opencolossus.grok.feed_forward import GATED, Activation, FeedForward, activate
from opencolossus.grok.router import Router
from opencolossus.specs.model import Model


class Experts(nn.Module):
    """The routed experts, their weights stacked.

    Expert parallelism wraps ``forward``: rows sorted by expert in, rows in the same order out.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        E, D, F = model.experts, model.width, model.expert_feed_forward
        self.activation: Activation = model.activation
        self.gate = nn.Parameter(torch.empty(E, D, F)) if model.gated else None
        self.up = nn.Parameter(torch.empty(E, D, F))
        self.down = nn.Parameter(torch.empty(E, F, D))

    def forward(self, x_MD: Tensor, counts_E: Tensor) -> Tensor:
        """Rows ``x_MD`` belong to expert 0 first, ``counts_E[0]`` of them, then to expert 1..."""
        if grouped_products.usable(x_MD, self.up):
            weights = (self.gate, self.up, self.down)
            fast = grouped_products.grouped_products(x_MD, counts_E, *weights, self.activation)
            if fast is not None:
                return fast
        counts: list[int] = counts_E.tolist()
        if self.gate is not None and self._by_products(x_MD):
            return expert_products(x_MD, counts, self.gate, self.up, self.down, self.activation)
        pieces = enumerate(x_MD.split(counts))
        # Idle experts are skipped; of nothing at all one is made, for the sake of the gradient.
        busy = [(expert, x) for expert, x in pieces if len(x)] or [(0, x_MD)]
        return torch.cat([self._one(expert, x) for expert, x in busy])

    def multiple(self, x_ND: Tensor) -> int:
        """What the rows of every expert are best a multiple of."""
        return MULTIPLE if self._by_products(x_ND) else 1

    def _by_products(self, x_MD: Tensor) -> bool:
        cpu_bf16 = x_MD.dtype == torch.bfloat16 and x_MD.device.type == "cpu"
        gated = self.gate is not None and self.activation in GATED
        return cpu_bf16 and gated and torch.is_grad_enabled()

    def _one(self, expert: int, x_MD: Tensor) -> Tensor:
        x_MF = x_MD @ self.up[expert]
        if self.gate is None:
            x_MF = activate(x_MF, self.activation)
        else:
            x_MF = activate(x_MD @ self.gate[expert], self.activation) * x_MF
        return x_MF @ self.down[expert]


class MixtureOfExperts(nn.Module):
    """Routed experts, with shared ones and a dense network beside them where the model has them."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.router = Router(model)
        self.experts = Experts(model)
        shared = model.shared_experts * model.expert_feed_forward
        self.shared = FeedForward(model, shared) if shared else None
        self.dense = FeedForward(model, model.feed_forward) if model.residual_experts else None

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """The output [B, T, D], and the losses [2]: balance and z, summed over tokens."""
        routing = self.router(x_BTD)
        x_ND = x_BTD.flatten(0, 1)
        out: Tensor = self._routed(x_ND, routing.experts_NJ, routing.gates_NJ).view_as(x_BTD)
        if self.shared is not None:
            out = out + self.shared(x_BTD)
        if self.dense is not None:
            out = (out + self.dense(x_BTD)) / math.sqrt(2)
        return out, torch.stack((routing.balance, routing.z))

    def _routed(self, x_ND: Tensor, experts_NJ: Tensor, gates_NJ: Tensor) -> Tensor:
        order = Order.of(experts_NJ, self.router.bias.shape[0], self.experts.multiple(x_ND))
        y_MD: Tensor = self.experts(to_experts(x_ND, order), order.counts_E)
        return to_tokens(y_MD, gates_NJ, order)
