"""One step of one network: gradients, clipping, the move of the weights; on any layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opencolossus.specs.model import Model
from opencolossus.specs.run import Optimiser
from opencolossus.train import optimiser
from opencolossus.train.batches import IGNORED, Batch
from opencolossus.train.master import Masters
from opencolossus.train.objective import BIAS_RATE, Counts
from opencolossus.train.parallel import gradients, network
from opencolossus.train.parallel.collectives import all_sum
from opencolossus.train.parallel.cuts import as_global
from opencolossus.train.parallel.passes import Direct, Pipeline
from opencolossus.train.parallel.setting import Setting
from opencolossus.train.parallel.spread import pieces
from opencolossus.train.replicas import Alone


@dataclass(frozen=True)
class Sums:
    """What a step found before it moved anything."""

    loss: float
    """Mean cross-entropy in nats per valid token of the whole batch."""
    norm: float
    """Of the whole gradient, before clipping."""


class Engine:
    """This process's part of a network, its fp32 weights and their optimisers."""

    def __init__(self, model: Model, setting: Setting, spec: Optimiser) -> None:
        self.groups = setting.groups
        self.device = setting.device
        self.clip = spec.clip
        self.peers = Alone()
        """Other replica groups."""
        layout = setting.layout
        self.network = network.build(model, setting)
        self.masters = Masters(self.network.parameters(), setting.dtype)
        spread = {
            name: found
            for name, weight in self.weights.items()
            if (found := pieces(self.network.cuts[name], weight.ndim)) is not None
        }
        self.optimisers = optimiser.build(self.weights, spec, setting.dtype, spread)
        self._passes: Direct | Pipeline = Direct(self.network, self.groups)
        if self.groups.pipeline.size > 1:
            stages = layout.pipeline_parallel * layout.virtual_stages
            self._passes = Pipeline(
                self.network, self.groups, stages, setting.device, setting.dtype
            )

    @property
    def weights(self) -> dict[str, Tensor]:
        """What the optimisers of this process move, in fp32, by the network's own names."""
        return self.masters.weights

    def gradients(self, batches: Sequence[Batch]) -> Sums:
        """Gradients of the mean loss over the batches of all processes, clipped; nothing moves.

        The mean is over all valid tokens together, so a batch without any adds nothing and breaks
        nothing.
        """
        self.masters.zero_grad()
        counts = self._count(batches)
        total = self._passes.train(batches, counts, self.masters.collect)
        nats = all_sum(total.double(), self.groups.world)
        cuts, tied = self.network.cuts, self.network.tied_ends
        gradients.add_up(self.weights, cuts, self.groups, tied)
        self._add_up_over_replicas(nats)
        loss = float(nats) / counts.valid
        norm = gradients.norm(self.weights, cuts, self.groups, tied)
        if norm > self.clip:
            grads = [w.grad for w in self.weights.values() if w.grad is not None]
            torch._foreach_mul_(grads, self.clip / norm)
        return Sums(loss, norm)

    def move(self, factor: float) -> None:
        """Take the step at ``factor`` of the highest learning rate."""
        optimiser.set_rate(self.optimisers, factor)
        for each in self.optimisers.values():
            each.step()
        self.publish()
        for router, load in zip(self.network.routers().values(), self.loads(), strict=True):
            router.update_bias(load, BIAS_RATE)
            router.reset_load()

    def publish(self) -> None:
        """Let the network compute with the weights as they are now; after every change of them."""
        self.masters.publish()
        self.network.forget()

    def discard(self) -> None:
        """Forget the gradients and the router counts of a step that is not taken."""
        self.masters.zero_grad()
        for router in self.network.routers().values():
            router.reset_load()

    def loads(self) -> list[Tensor]:
        """Tokens [E] of each expert since the last step, for each layer of this stage."""
        routers = list(self.network.routers().values())
        if not routers:
            return []
        loads = torch.stack([router.load for router in routers])
        return list(all_sum(loads, self.groups.stage))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint keeps, under the names that it uses, as parts of wholes.

        All processes ask at the same time, between two steps.
        """
        optimiser.prime(self.optimisers)
        cuts, groups = self.network.cuts, self.groups
        found = [(f"weights.{name}", name, weight) for name, weight in self.weights.items()]
        found += optimiser.state(self.optimisers, self.weights)
        wholes = {
            name: as_global(tensor.detach(), cuts[weight], groups) for name, weight, tensor in found
        }
        biases = {
            f"buffers.blocks.{layer}.experts.router.bias": router.bias
            for layer, router in self.network.routers().items()
        }
        return wholes | biases

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> float:
        """Cross-entropy in nats, summed over the ``batches`` of all processes."""
        for chunk in self.network.chunks:
            chunk.eval()
        nats = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in batches:
            nats += self._passes.evaluate(batch)
        for chunk in self.network.chunks:
            chunk.train()
        return float(all_sum(nats, self.groups.world))

    def _add_up_over_replicas(self, nats: Tensor) -> None:
        grads = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        loads = [router.load for router in self.network.routers().values()]
        self.peers.add_up([nats, *loads, *grads])

    def _count(self, batches: Sequence[Batch]) -> Counts:
        valid = torch.stack([(batch.targets != IGNORED).sum() for batch in batches]).sum()
        seen = valid.new_tensor(sum(batch.tokens.numel() for batch in batches))
        both = all_sum(torch.stack((valid, seen)), self.groups.data)
        self.peers.add_up([both])
        counts: list[int] = both.tolist()
        return Counts(max(counts[0], 1), counts[1])
