"""What computes logits for the engine: compiled for a CPU, or `Grok` as it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from opencolossus.grok.cache import Cache
from opencolossus.grok.model import Grok
from opencolossus.grok.native.build import NoCompilerError
from opencolossus.serve.native.network import NativeNetwork
from opencolossus.serve.native.pack import suits

LOG = logging.getLogger("colossus.serve")


class Network(Protocol):
    """A network that remembers a sequence in each of its slots."""

    lengths: list[int]
    """Tokens that each slot holds."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot hold the first ``length`` tokens of another one, or of itself, alone."""

    def swap(self, left: int, right: int) -> None:
        """Exchange two slots."""

    def logits(self, first: int, pieces: Sequence[Sequence[int]], whole: bool = False) -> Tensor:
        """Logits after each piece of tokens, which the slots from ``first`` on go on with.

        Returns:
            [pieces, V] in fp32; with ``whole`` those of all tokens, end to end.
        """


def open_network(
    model: Grok, slots: int, context: int, dtype: torch.dtype, device: torch.device
) -> Network:
    """The fastest form of a network for a device."""
    if device.type == "cpu" and suits(model.config):
        try:
            return NativeNetwork(model, slots, context, dtype, torch.get_num_threads())
        except NoCompilerError as error:
            LOG.warning("the network is not compiled, and slower: %s", error)
    return TorchNetwork(model, slots, context, dtype, device)


class TorchNetwork:
    """`Grok` by PyTorch's own operations, on any device."""

    def __init__(
        self, model: Grok, slots: int, context: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._model = _placed(model.eval(), device, dtype)
        self._device = device
        self._cache = Cache(model.config, slots, context, dtype=dtype, device=device)
        self.lengths = self._cache.lengths

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot hold the first ``length`` tokens of another one, or of itself, alone."""
        cache = self._cache
        if source != target:
            for kept in (*cache.keys, *cache.values):
                kept[target, :, :length] = kept[source, :, :length]
            cache.positions[target, :length] = cache.positions[source, :length]
            cache.lengths[target] = length
        cache.truncate(target, length)

    def swap(self, left: int, right: int) -> None:
        """Exchange two slots; only the parts in use are copied.

        Sequences that run together are kept in neighbouring slots this way, so that a forward pass
        reads a view of the cache.
        """
        if left == right:
            return
        cache = self._cache
        span = min(max(cache.lengths[left], cache.lengths[right]), cache.capacity)
        pair = torch.tensor([left, right], device=self._device)
        for kept in (*cache.keys, *cache.values):
            kept[pair, :, :span] = kept[pair.flip(0), :, :span]
        cache.positions[pair] = cache.positions[pair.flip(0)]
        cache.lengths[left], cache.lengths[right] = cache.lengths[right], cache.lengths[left]

    def logits(self, first: int, pieces: Sequence[Sequence[int]], whole: bool = False) -> Tensor:
        """Logits after each piece of tokens, which the slots from ``first`` on go on with."""
        counts = [len(piece) for piece in pieces]
        tokens = torch.zeros(len(pieces), max(counts), dtype=torch.long)
        for row, piece in zip(tokens, pieces, strict=True):
            row[: len(piece)] = torch.tensor(piece)
        last = torch.tensor(counts, device=self._device)[:, None] - 1
        logits: Tensor = self._model(
            tokens.to(self._device),
            cache=self._cache.step(range(first, first + len(pieces)), counts),
            select=None if whole else last,
        ).float()
        if not whole:
            return logits[:, 0]
        return torch.cat([row[:count] for row, count in zip(logits, counts, strict=True)])


def _placed(model: Grok, device: torch.device, dtype: torch.dtype) -> Grok:
    """The network on its device in ``dtype``, but for routers: rounded, they choose others."""
    exact = {name: router.state_dict() for name, router in model.routers().items()}
    model = model.to(device, dtype)
    for name, router in model.routers().items():
        router.float().load_state_dict(exact[name])
    return model
