"""One step of one network in one process: gradients, clipping, the move of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opencolossus.grok.model import Grok, Loss
from opencolossus.specs.run import Optimiser
from opencolossus.train import optimiser
from opencolossus.train.master import Masters

BALANCE = 1e-3
"""Weight of the router's balance loss; small, since the bias does most of the work."""
Z_LOSS = 1e-4
"""Weight of the router's z-loss (Zoph et al. 2022 use 1e-3 per layer mean)."""
BIAS_RATE = 1e-3
"""Step of the bias that steers tokens to idle experts (Wang et al. 2024, section 4.3)."""
IGNORED = -100
"""Target of a token that does not count."""


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, [B, T] each."""

    tokens: Tensor
    targets: Tensor
    """-100 where none counts."""
    documents: Tensor
    """Which document of its row a token belongs to."""


@dataclass(frozen=True)
class Sums:
    """What a step found before it moved anything."""

    loss: float
    """Mean cross-entropy in nats per valid token of the whole batch."""
    norm: float
    """Of the whole gradient."""


class Engine:
    """A network, its fp32 weights and their optimisers."""

    def __init__(self, network: Grok, dtype: torch.dtype, spec: Optimiser) -> None:
        self.network = network
        self.clip = spec.clip
        self.masters = Masters(network, dtype)
        self.optimisers = optimiser.build(self.masters.weights, spec)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What the optimisers move, in fp32, by the network's own names."""
        return self.masters.weights

    def gradients(self, batches: Sequence[Batch]) -> Sums:
        """Gradients of the mean loss over all ``batches``, clipped; nothing moves yet.

        The mean is over the valid tokens of all batches together, so a batch without any adds
        nothing and breaks nothing.
        """
        self.masters.zero_grad()
        valid = self._valid(batches)
        seen = sum(batch.tokens.numel() for batch in batches)
        total = torch.zeros((), device=batches[0].tokens.device)
        for batch in batches:
            loss = self.network.loss(batch.tokens, batch.targets, documents=batch.documents)
            self._objective(loss, valid, seen).backward()
            self.masters.collect()
            total += loss.total.detach()
        norm = self._clip()
        return Sums(loss=float(total) / valid, norm=norm)

    def move(self, factor: float) -> None:
        """Take the step at ``factor`` of the highest learning rate."""
        optimiser.set_rate(self.optimisers, factor)
        for each in self.optimisers.values():
            each.step()
        self.masters.publish()
        self.balance()

    def discard(self) -> None:
        """Forget the gradients and the router counts of a step that is not taken."""
        self.masters.zero_grad()
        for router in self.network.routers().values():
            router.reset_load()

    def loads(self) -> list[Tensor]:
        """Tokens [E] of each expert since the last step, per layer."""
        return [router.load for router in self.network.routers().values()]

    def balance(self) -> None:
        """Steer tokens to the experts that saw few since the last step."""
        for router in self.network.routers().values():
            router.update_bias(router.load, BIAS_RATE)
            router.reset_load()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint keeps, under the names that it uses."""
        buffers = {
            name: buffer
            for name, buffer in self.network.state_dict().items()
            if name.endswith("router.bias")
        }
        return {
            **{f"weights.{name}": weight for name, weight in self.weights.items()},
            **{f"buffers.{name}": buffer for name, buffer in buffers.items()},
            **optimiser.state(self.optimisers, self.weights),
        }

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> tuple[float, int]:
        """Cross-entropy in nats, summed over ``batches``, and the tokens that counted."""
        self.network.eval()
        nats, tokens = 0.0, 0
        for batch in batches:
            loss = self.network.loss(batch.tokens, batch.targets, documents=batch.documents)
            nats += float(loss.total)
            tokens += int(loss.tokens)
        self.network.train()
        return nats, tokens

    def _valid(self, batches: Sequence[Batch]) -> int:
        return max(sum(int((batch.targets != IGNORED).sum()) for batch in batches), 1)

    def _objective(self, loss: Loss, valid: int, seen: int) -> Tensor:
        router = BALANCE * loss.balance + Z_LOSS * loss.z
        return loss.total / valid + router / seen

    def _clip(self) -> float:
        grads = [w.grad for w in self.weights.values() if w.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(grads))
        if norm > self.clip:
            torch._foreach_mul_(grads, self.clip / norm)
        return norm
