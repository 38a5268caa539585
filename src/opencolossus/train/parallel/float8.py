"""Linear layers in float8, through torchao: for GPUs that multiply in it (Ada, Hopper and newer).

Weights stay what they are and are rounded at each use, each tensor with a scale of its own
(Micikevicius et al. 2022, "FP8 formats for deep learning": e4m3 forward, e5m2 for gradients).
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn

from opencolossus.grok.model import Grok
from opencolossus.specs.errors import UserError

LEAST_CAPABILITY = (8, 9)
"""Of a GPU with float8 matrix products (CUDA's compute capability)."""
MULTIPLE = 16
"""Both sizes of a matrix must be multiples of this for ``torch._scaled_mm``."""


def fault(device: torch.device) -> str | None:
    """Why a network cannot be trained in float8 on a device, or None."""
    if device.type != "cuda":
        return "this machine computes on a CPU"
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} has none"
    if find_spec("torchao") is None:
        return "torchao is missing: pip install 'opencolossus[float8]'"
    return None


def check(device: torch.device) -> None:
    """Make sure that a device can.

    Raises:
        UserError: it cannot.
    """
    found = fault(device)
    if found is not None:
        raise UserError(
            "run.precision fp8 needs a GPU with float8 matrix products (compute capability 8.9 or "
            f"more) and torchao, but {found}; or set it to bf16"
        )


def suits(module: nn.Module, name: str) -> bool:
    """Whether a layer is to compute in float8: the linear ones of a block, but not its router.

    Routed experts are no linear layers; they stay in bf16.
    """
    if not isinstance(module, nn.Linear) or "router" in name or not name.startswith("blocks."):
        return False
    return all(size % MULTIPLE == 0 for size in module.weight.shape)


def convert(network: Grok, emulate: bool = False) -> None:
    """Replace the layers that suit; their weights stay the same objects.

    Args:
        emulate: round to float8, but multiply in the type of the activations, on any device.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    config = Float8LinearConfig(emulate=emulate)
    convert_to_float8_training(network, config=config, module_filter_fn=suits)
