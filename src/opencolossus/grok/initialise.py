"""The weights that training starts from: a function of the seed and each parameter's name alone.

Whichever part of a model a rank holds, it fills it with the numbers that the whole model would
have there.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from opencolossus.specs.model import Model


@torch.no_grad()
def initialise(module: nn.Module, model: Model, seed: int) -> None:
    """Fill the parameters and buffers of a whole or partial model in place."""
    for name, parameter in module.named_parameters():
        fill(parameter, initial(name, parameter.shape, model, seed, parameter.device))
    for buffer in module.buffers():
        buffer.zero_()


def fill(parameter: Tensor, value: Tensor) -> None:
    """Copy a whole value into a parameter, or a rank's own part of it into a sharded one."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(parameter, DTensor):
        mesh, placements = parameter.device_mesh, parameter.placements
        value = distribute_tensor(value, mesh, placements, src_data_rank=None)
    parameter.copy_(value)


def initial(name: str, shape: torch.Size, model: Model, seed: int, device: torch.device) -> Tensor:
    """The first value of the parameter ``name`` of a `Grok`, whole, in fp32."""
    if name.endswith("bias"):
        return torch.zeros(shape, device=device)
    if "norm" in name:
        return torch.full(shape, _norm_scale(name, model), device=device)
    generator = torch.Generator(device).manual_seed(_seed(seed, name))
    value = torch.empty(shape, device=device)
    deviation = _deviation(name, shape, model)
    bound = 3 * deviation
    return nn.init.trunc_normal_(value, 0.0, deviation, -bound, bound, generator=generator)


def _seed(seed: int, name: str) -> int:
    # The generator of the CPU reads 32 bits alone, so both must reach each of them.
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=4).digest())


def _norm_scale(name: str, model: Model) -> float:
    """1, but 1 / sqrt(2 layers) for a norm after a block.

    The residual stream then keeps the scale of the embedding through any number of layers
    (depth-scaled sandwich norm, Yin et al. 2025, "Pangu Ultra", section 2.2).
    """
    return 1 / math.sqrt(2 * model.layers) if "post_norm" in name else 1.0


def _deviation(name: str, shape: torch.Size, model: Model) -> float:
    """1 / sqrt(fan-in); what is added to the stream without a norm is scaled down by depth.

    The depth scale 1 / sqrt(2 layers) is that of GPT-2 (Radford et al. 2019, section 2.3). Tied or
    multiplied embeddings start so that a row times the multiplier has unit variance at most.
    """
    if name.startswith("embed."):
        return 1 / max(model.embedding_multiplier, math.sqrt(model.width))
    if name.startswith("head."):
        return 1 / math.sqrt(model.width)
    fan_in = shape[-2] if len(shape) == 3 else shape[-1]
    adds = ".down" in name or ".output." in name
    depth = math.sqrt(2 * model.layers) if adds and model.norm_placement == "pre" else 1.0
    return 1 / (math.sqrt(fan_in) * depth)
