"""Mixture of experts without dropped tokens: sort tokens by expert, one product per expert."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from opencolossus.grok.feed_forward import Activation, FeedForward, activate
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
        pieces = x_MD.split(counts_E.tolist())
        return torch.cat([self._one(expert, x) for expert, x in enumerate(pieces)])

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
        N, J = experts_NJ.shape
        expert_M = experts_NJ.flatten()
        order_M = expert_M.argsort(stable=True)
        counts_E = torch.bincount(expert_M, minlength=self.router.bias.shape[0])
        y_MD: Tensor = self.experts(x_ND[order_M // J], counts_E)
        # Back to token order by the inverse permutation: no two rows meet, so sums are exact.
        place_M = torch.empty_like(order_M).scatter_(
            0, order_M, torch.arange(N * J, device=order_M.device)
        )
        y_NJD = y_MD[place_M].view(N, J, -1)
        return (y_NJD * gates_NJ.to(y_NJD.dtype)[..., None]).sum(dim=1)
