"""Weights of a `Grok` in the order in which `forward.cpp` reads them."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from opencolossus.grok.block import Block
from opencolossus.grok.feed_forward import FeedForward
from opencolossus.specs.model import Model

POINTER, WHOLE, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
ACTIVATIONS = {"gelu": 0, "silu": 1, "relu": 2}


class CMatrix(ctypes.Structure):
    """``Matrix`` of forward.cpp."""

    _fields_ = (("weights", POINTER), ("inputs", WHOLE), ("panels", WHOLE), ("bf16", WHOLE))


MATRICES = (
    "qkv", "output", "router", "first", "second", "dense_first", "dense_second", "shared_first",
    "shared_second",
)  # fmt: skip


class CLayer(ctypes.Structure):
    """``Layer`` of forward.cpp."""

    _fields_ = (
        ("norms", POINTER * 4),
        *((name, CMatrix) for name in MATRICES),
        ("router_bias", POINTER),
        ("keys", POINTER),
        ("values", POINTER),
    )


WHOLES = (
    "layers", "width", "heads", "kv_heads", "head_size", "capacity", "experts", "chosen",
    "activation", "renormalise", "threads",
)  # fmt: skip
REALS = (
    "epsilon", "scale", "softcap", "router_softcap", "embedding_multiplier", "output_multiplier",
    "logit_softcap",
)  # fmt: skip


class CNetwork(ctypes.Structure):
    """``Network`` of forward.cpp."""

    _fields_ = (
        *((name, WHOLE) for name in WHOLES),
        *((name, REAL) for name in REALS),
        ("cosines", POINTER),
        ("sines", POINTER),
        ("temperatures", POINTER),
        ("embedding", POINTER),
        ("embedding_bf16", WHOLE),
        ("norm", POINTER),
        ("head", CMatrix),
        ("layer", ctypes.POINTER(CLayer)),
    )


class Packer:
    """Packs tensors, and keeps them alive for as long as their addresses are used."""

    def __init__(self, panel: int, dtype: torch.dtype) -> None:
        self._panel = panel
        self._dtype = dtype
        self._kept: list[Tensor] = []

    def address(self, tensor: Tensor) -> int:
        """The address of a copy of a tensor."""
        kept = tensor.detach().clone(memory_format=torch.contiguous_format)
        return self.keep(kept)

    def keep(self, tensor: Tensor) -> int:
        """The address of the tensor itself."""
        self._kept.append(tensor)
        return tensor.data_ptr()

    def vector(self, tensor: Tensor | None) -> int | None:
        """The address of a vector in fp32."""
        return None if tensor is None else self.address(tensor.float())

    def matrix(self, *parts: Tensor, exact: bool = False) -> CMatrix:
        """Matrices [..., outputs, inputs] side by side, each with outputs rounded up to panels.

        ``exact`` keeps fp32, as routers need.
        """
        dtype = torch.float32 if exact else self._dtype
        panels = torch.cat([self._panels(part.detach().to(dtype)) for part in parts], dim=-3)
        return CMatrix(
            self.address(panels), parts[0].shape[-1], panels.shape[-3], dtype == torch.bfloat16
        )

    def _panels(self, weight: Tensor) -> Tensor:
        """[..., outputs, inputs] to [..., panels, inputs, panel]."""
        outputs = weight.shape[-2]
        padded = torch.nn.functional.pad(weight, (0, 0, 0, -outputs % self._panel))
        panels: Tensor = padded.unflatten(-2, (-1, self._panel)).transpose(-1, -2)
        return panels

    def layer(self, block: Block) -> CLayer:
        """A layer, without room for keys and values."""
        attention, layer = block.attention, CLayer()
        norms = (
            block.attention_norm, block.attention_post_norm, block.feed_forward_norm,
            block.feed_forward_post_norm,
        )  # fmt: skip
        layer.norms = (POINTER * 4)(*(self._norm(norm) for norm in norms))
        layer.qkv = self.matrix(
            torch.cat([part.weight for part in (attention.query, attention.key, attention.value)])
        )
        layer.output = self.matrix(attention.output.weight)
        if block.feed_forward is not None:
            layer.dense_first, layer.dense_second = self._feed_forward(block.feed_forward)
        if block.experts is not None:
            self._mixture(layer, block)
        return layer

    def _mixture(self, layer: CLayer, block: Block) -> None:
        mixture = block.experts
        assert mixture is not None  # the caller looked
        assert mixture.experts.gate is not None  # `suits` asks for gated networks
        layer.router = self.matrix(mixture.router.gate.weight, exact=True)
        layer.router_bias = self.vector(mixture.router.bias)
        gate, up, down = (
            weight.transpose(-1, -2)
            for weight in (mixture.experts.gate, mixture.experts.up, mixture.experts.down)
        )
        layer.first, layer.second = self.matrix(gate, up), self.matrix(down)
        if mixture.shared is not None:
            layer.shared_first, layer.shared_second = self._feed_forward(mixture.shared)
        if mixture.dense is not None:
            layer.dense_first, layer.dense_second = self._feed_forward(mixture.dense)

    def _feed_forward(self, network: FeedForward) -> tuple[CMatrix, CMatrix]:
        assert network.gate is not None  # `suits` asks for gated networks
        first = self.matrix(network.gate.weight, network.up.weight)
        return first, self.matrix(network.down.weight)

    def _norm(self, norm: torch.nn.Module | None) -> int | None:
        if norm is None:
            return None
        weight = norm.weight
        assert isinstance(weight, Tensor)  # `suits` asks for RMS norms
        return self.vector(weight)


def suits(model: Model) -> bool:
    """Whether `forward.cpp` computes this kind of network."""
    return (
        model.norm == "rms"
        and model.positions == "rope"
        and model.gated
        and not model.biases
        and model.latent_attention is None
        and model.activation in ACTIVATIONS
    )
