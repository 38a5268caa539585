"""The compiled network with its keys and values, as the engine uses it."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from opencolossus.grok.block import Block
from opencolossus.grok.context import temperatures
from opencolossus.grok.model import Grok
from opencolossus.grok.rotary import rotary_tables
from opencolossus.serve.native.build import library
from opencolossus.serve.native.pack import ACTIVATIONS, CLayer, CNetwork, Packer
from opencolossus.specs.model import Model


class NativeNetwork:
    """Logits by `forward.cpp`, in which a sequence gets the same bits whatever else runs."""

    def __init__(
        self, model: Grok, slots: int, context: int, dtype: torch.dtype, threads: int
    ) -> None:
        """Pack the weights in ``dtype``; activations, keys, values and sums are in fp32.

        Raises:
            NoCompilerError: it cannot be compiled here.
        """
        self._library = library()
        self._panel = int(self._library.panel_width())
        self._packer = Packer(self._panel, dtype)
        self._vocabulary = model.config.vocabulary
        self._kept: list[tuple[Tensor, Tensor]] = []
        """Keys and values of each layer."""
        self._layers = self._pack_layers(model, slots, context)
        self._network = self._pack_network(model, context, dtype, threads)
        self._columns: int = self._network.head.panels * self._panel
        self._rows = list(range(slots))
        """Where the sequence of each slot really is: to exchange two, nothing is copied."""
        self.lengths = [0] * slots

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot hold the first ``length`` tokens of another one, or of itself, alone."""
        if source != target:
            here, there = self._rows[source], self._rows[target]
            for keys, values in self._kept:
                keys[there, :, :, :length] = keys[here, :, :, :length]
                values[there, :, :length] = values[here, :, :length]
        self.lengths[target] = length

    def swap(self, left: int, right: int) -> None:
        """Exchange two slots."""
        for kept in (self._rows, self.lengths):
            kept[left], kept[right] = kept[right], kept[left]

    def logits(self, first: int, pieces: Sequence[Sequence[int]], whole: bool = False) -> Tensor:
        """Logits after each piece of tokens, which the slots from ``first`` on go on with.

        Returns:
            [pieces, V] in fp32; with ``whole`` those of all tokens, end to end.
        """
        tokens, positions, rows, want = (array("i") for _ in range(4))
        for slot, piece in enumerate(pieces, first):
            start, count = self.lengths[slot], len(piece)
            want.extend(
                range(len(tokens) if whole else len(tokens) + count - 1, len(tokens) + count)
            )
            tokens.extend(piece)
            positions.extend(range(start, start + count))
            rows.extend([self._rows[slot]] * count)
            self.lengths[slot] = start + count
        out = torch.empty(len(want), self._columns)
        self._library.forward(
            ctypes.byref(self._network),
            len(tokens),
            *(given.buffer_info()[0] for given in (tokens, positions, rows)),
            len(want),
            want.buffer_info()[0],
            out.data_ptr(),
        )
        return out[:, : self._vocabulary]

    def _pack_layers(self, model: Grok, slots: int, context: int) -> ctypes.Array[CLayer]:
        config, packer = model.config, self._packer
        N, K = config.kv_heads, config.head_size
        blocks = [block for block in model.blocks.values() if isinstance(block, Block)]
        layers = (CLayer * len(blocks))()
        for index, block in enumerate(blocks):
            keys = torch.zeros(slots, N, K, self._whole(context))
            values = torch.zeros(slots, N, context, self._whole(K))
            self._kept.append((keys, values))
            layers[index] = packer.layer(block)
            layers[index].keys, layers[index].values = keys.data_ptr(), values.data_ptr()
        return layers

    def _whole(self, count: int) -> int:
        return -(-count // self._panel) * self._panel

    def _pack_network(
        self, model: Grok, context: int, dtype: torch.dtype, threads: int
    ) -> CNetwork:
        config, packer = model.config, self._packer
        assert model.embed is not None  # a whole network, no pipeline stage
        assert model.norm is not None
        assert model.head is not None
        positions = torch.arange(context)[None]
        cosines, sines = rotary_tables(positions, config.head_size, config.rope_base)
        length = config.attention_temperature_length
        return CNetwork(
            **_numbers(config, context, threads),
            cosines=packer.vector(cosines),
            sines=packer.vector(sines),
            temperatures=packer.vector(temperatures(positions, length)) if length else None,
            embedding=packer.address(model.embed.weight.to(dtype)),
            embedding_bf16=dtype == torch.bfloat16,
            norm=packer.vector(model.norm.weight),  # type: ignore[arg-type]
            head=packer.matrix(model.head.weight),
            layer=ctypes.cast(self._layers, ctypes.POINTER(CLayer)),
        )


def _numbers(config: Model, context: int, threads: int) -> dict[str, float | int]:
    return {
        "layers": config.layers,
        "width": config.width,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "head_size": config.head_size,
        "capacity": context,
        "experts": config.experts,
        "chosen": config.experts_per_token,
        "activation": ACTIVATIONS[config.activation],
        "renormalise": config.renormalise_gates,
        "threads": threads,
        "epsilon": config.norm_epsilon,
        "scale": config.attention_multiplier or config.head_size**-0.5,
        "softcap": config.attention_softcap or 0.0,
        "router_softcap": config.router_softcap or 0.0,
        "embedding_multiplier": config.embedding_multiplier,
        "output_multiplier": config.output_multiplier,
        "logit_softcap": config.logit_softcap or 0.0,
    }
