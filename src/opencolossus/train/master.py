"""fp32 weights behind a network that computes in bf16."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from opencolossus.train.precision import stays_fp32


class Masters:
    """The weights that optimisers move, in fp32; the network computes with a rounded copy.

    Casting each weight once per step costs far less than autocast, which casts at every use.
    Gradients of several micro-batches are added up in fp32. A network that computes in fp32, or
    whose weights are fully sharded (there FSDP rounds), has no second copy.

    Args:
        used: the network's parameters by name, in fp32; they are rounded here.
        dtype: what the network computes in.
    """

    def __init__(self, used: Mapping[str, nn.Parameter], dtype: torch.dtype) -> None:
        self.used = dict(used)
        self.weights: dict[str, Tensor] = {}
        for name, parameter in self.used.items():
            if isinstance(parameter, DTensor):
                self.weights[name] = parameter.to_local().detach().requires_grad_()
            elif dtype == torch.float32 or stays_fp32(name):
                self.weights[name] = parameter
            else:
                self.weights[name] = parameter.detach().clone().requires_grad_()
                parameter.data = parameter.data.to(dtype)
        self._apart = [
            (p, self.weights[name]) for name, p in self.used.items() if p is not self.weights[name]
        ]
        self._rounded = [(p, w) for p, w in self._apart if not isinstance(p, DTensor)]
        for parameter, master in self._rounded:
            parameter.register_post_accumulate_grad_hook(partial(_add_to, master))

    @torch.no_grad()
    def collect(self) -> None:
        """Take the gradients over that FSDP has added up; rounded weights hand theirs on at once.

        After every backward pass, or after several.
        """
        for used, master in self._apart:
            if isinstance(used.grad, DTensor):
                _add(master, used.grad.to_local())
                used.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Round the fp32 weights into the network; after every step and every load."""
        if self._rounded:
            used, masters = zip(*self._rounded, strict=True)
            torch._foreach_copy_(used, masters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for name, weight in self.weights.items():
            weight.grad = self.used[name].grad = None


def _add_to(master: Tensor, used: Tensor) -> None:
    """Empty the gradient of ``used`` into that of its fp32 weight, before the next adds to it."""
    if used.grad is not None:
        _add(master, used.grad)
        used.grad = None


@torch.no_grad()
def _add(master: Tensor, found: Tensor) -> None:
    if master.grad is None:
        master.grad = found.float()
    else:
        master.grad.add_(found)
