"""The products of all experts on a GPU, each a single grouped matrix product.

One kernel works through the experts, reads on the GPU where each one's rows end, and so needs
neither a launch per expert nor the counts on the CPU. PyTorch has that kernel for bf16 on Hopper
and the data-centre Blackwell; on other GPUs the same call goes through the experts one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from opencolossus.grok.feed_forward import Activation, activate
from opencolossus.grok.fused import why

log = logging.getLogger(__name__)

ALIGNED = 8
"""Numbers of bf16 in the 16 bytes at which the kernel wants every row to start."""
OLDEST = (8, 0)
"""Compute capability of Ampere."""

_failed = False


def usable(x_MD: Tensor, up_EDF: Tensor) -> bool:
    """Whether to try: aligned bf16 on a GPU that has the kernel, and not after it failed."""
    if _failed or x_MD.device.type != "cuda" or not len(x_MD):
        return False
    aligned = all(size % ALIGNED == 0 for size in up_EDF.shape[1:])
    bf16 = x_MD.dtype == up_EDF.dtype == torch.bfloat16
    return aligned and bf16 and torch.cuda.get_device_capability(x_MD.device) >= OLDEST


def grouped_products(
    x_MD: Tensor,
    counts_E: Tensor,
    gate_EDF: Tensor | None,
    up_EDF: Tensor,
    down_EFD: Tensor,
    activation: Activation,
) -> Tensor | None:
    """``(act(x gate_e) * x up_e) down_e`` for the rows of each expert e, which follow each other.

    None where the kernel cannot run; a warning says why, once.
    """
    global _failed
    ends_E = counts_E.cumsum(0).to(torch.int32)
    product = _kernel()
    try:
        x_MF = product(x_MD, up_EDF, offs=ends_E)
        if gate_EDF is None:
            x_MF = activate(x_MF, activation)
        else:
            x_MF = activate(product(x_MD, gate_EDF, offs=ends_E), activation) * x_MF
        return product(x_MF, down_EFD, offs=ends_E)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        _failed = True
        log.warning("grouped products do not run here, experts are slower: %s", why(error))
        return None


def _kernel() -> Callable[..., Tensor]:
    """By its public name where this PyTorch has it."""
    functional = torch.nn.functional
    found: Callable[..., Tensor] = getattr(functional, "grouped_mm", None) or torch._grouped_mm
    return found
