"""Which experts each token goes to, and how evenly: choice, gates, balance."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.grok import fused
from opencolossus.grok.native import routing
from opencolossus.specs.model import Model

Rating = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of each token: probabilities and log of their partition function, chosen experts, gates."""


class Routing(NamedTuple):
    """The choice for N tokens, and the losses that keep it balanced.

    Both losses are sums over tokens, so that parts of a batch add up.
    """

    experts_NJ: Tensor
    """Chosen experts, the best first."""
    gates_NJ: Tensor
    """Their weights, fp32."""
    balance: Tensor
    """1 per token where the load is even, up to E / top-k where it is not."""
    z: Tensor
    """Squared log of the router's partition function (Zoph et al. 2022, eq. 5)."""


def same(x: Tensor) -> Tensor:
    """Give the tensor back."""
    return x


class Router(nn.Module):
    """Softmax over all experts in fp32, then the top k; nothing is dropped.

    ``bias`` steers the choice and never the gates; it moves outside the gradient by `update_bias`
    (Wang et al. 2024, "Auxiliary-loss-free load balancing", algorithm 1). ``load`` counts the
    tokens of each expert since `reset_load`.
    """

    bias: Tensor
    load: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.top_k = model.experts_per_token
        self.softcap = model.router_softcap
        self.renormalise = model.renormalise_gates
        self.gate = nn.Linear(model.width, model.experts, bias=False)
        self.register_buffer("bias", torch.zeros(model.experts))
        self.register_buffer("load", torch.zeros(model.experts), persistent=False)
        self.sum_over_sequence: Callable[[Tensor], Tensor] = same
        """Adds [B, E] over the ranks that hold parts of the same sequences (context parallel)."""

    def forward(self, x_BTD: Tensor) -> Routing:
        fast = fused.suits(x_BTD, self.gate.weight) and routing.usable(x_BTD, self.gate.weight)
        probs_BTE, lse_BT, experts_BTJ, gates_BTJ = (self._at_once if fast else self._rate)(x_BTD)
        counts_BE = self._count(experts_BTJ)
        return Routing(
            experts_NJ=experts_BTJ.flatten(0, 1),
            gates_NJ=gates_BTJ.flatten(0, 1),
            balance=self._balance(counts_BE, probs_BTE),
            z=lse_BT.square().sum(),
        )

    def _rate(self, x_BTD: Tensor) -> Rating:
        logits_BTE = F.linear(x_BTD.float(), self.gate.weight.float())
        if self.softcap is not None:
            logits_BTE = self.softcap * torch.tanh(logits_BTE / self.softcap)
        probs_BTE = logits_BTE.softmax(dim=-1)
        experts_BTJ = (probs_BTE.detach() + self.bias).topk(self.top_k, dim=-1).indices
        gates_BTJ = probs_BTE.gather(-1, experts_BTJ)
        if self.renormalise:
            gates_BTJ = gates_BTJ / gates_BTJ.sum(dim=-1, keepdim=True)
        return probs_BTE, logits_BTE.logsumexp(dim=-1), experts_BTJ, gates_BTJ

    def _at_once(self, x_BTD: Tensor) -> Rating:
        choice = routing.Choice(self.top_k, self.softcap or 0.0, self.renormalise)
        x_ND = x_BTD.flatten(0, 1)
        probs, lse, experts, gates = routing.route(x_ND, self.gate.weight, self.bias, choice)
        whole = x_BTD.shape[:2]
        return (
            probs.unflatten(0, whole),
            lse.unflatten(0, whole),
            experts.unflatten(0, whole),
            gates.unflatten(0, whole),
        )

    def update_bias(self, load_E: Tensor, rate: float) -> None:
        """Raise the bias of experts with less than the mean load by ``rate``, lower the others."""
        self.bias += rate * torch.sign(load_E.float().mean() - load_E.float())

    def reset_load(self) -> None:
        """Start to count anew."""
        self.load.zero_()

    def _count(self, experts_BTJ: Tensor) -> Tensor:
        """Tokens [B, E] of each sequence that chose each expert; adds them to ``load``."""
        B = experts_BTJ.shape[0]
        counts_BE = torch.zeros(B, self.bias.shape[0], device=experts_BTJ.device)
        flat = experts_BTJ.flatten(1)
        counts_BE.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
        if self.training:
            self.load += counts_BE.sum(dim=0)
        return counts_BE

    def _balance(self, counts_BE: Tensor, probs_BTE: Tensor) -> Tensor:
        """Balance within each sequence (DeepSeek-V3 2024, eq. 17-20), times its tokens.

        Per sequence and not per batch: the loss of a batch is then the sum of those of its parts,
        however the sequences are spread over micro-batches and ranks.
        """
        E = counts_BE.shape[1]
        counts_BE = self.sum_over_sequence(counts_BE)
        share_BE = counts_BE / counts_BE.sum(dim=1, keepdim=True).clamp(min=1)
        # The sum of probabilities over tokens is mean times tokens.
        return E * (share_BE * self.sum_over_sequence(probs_BTE.sum(dim=1))).sum()
