"""fp32 weights behind a network that computes in bf16."""

from __future__ import annotations

import torch
from torch import nn

from opencolossus.train.precision import round_network


class Masters:
    """The weights that optimisers move, in fp32; the network computes with a rounded copy.

    Casting each weight once per step costs far less than autocast, which casts at every use.
    Gradients of several micro-batches are added up in fp32. A network that computes in fp32 has
    no second copy.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        first = {name: p.detach().clone() for name, p in network.named_parameters()}
        round_network(network, dtype)
        used = dict(network.named_parameters())
        self.weights = {
            name: p if p.dtype == torch.float32 else first[name].requires_grad_()
            for name, p in used.items()
        }
        self._rounded = [(p, self.weights[n]) for n, p in used.items() if p is not self.weights[n]]

    @torch.no_grad()
    def collect(self) -> None:
        """Add the network's gradients to those of the fp32 weights; after every backward pass."""
        for used, master in self._rounded:
            if used.grad is None:
                continue
            if master.grad is None:
                master.grad = used.grad.float()
            else:
                master.grad.add_(used.grad)
            used.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Round the fp32 weights into the network; after every step and every load."""
        if self._rounded:
            used, masters = zip(*self._rounded, strict=True)
            torch._foreach_copy_(used, masters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for weight in self.weights.values():
            weight.grad = None
