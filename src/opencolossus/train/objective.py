"""What training lowers: cross-entropy, and what keeps the routers even."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from opencolossus.grok.model import Loss

BALANCE = 1e-3
"""Weight of the router's balance loss; small, since the bias does most of the work."""
Z_LOSS = 1e-4
"""Weight of the router's z-loss per layer (Zoph et al. 2022 use 1e-3 in far larger networks)."""
BIAS_RATE = 1e-3
"""Step of the bias that steers tokens to idle experts (Wang et al. 2024, section 4.3)."""


@dataclass(frozen=True)
class Counts:
    """Tokens of the whole step, over all processes and micro-batches."""

    valid: int
    """With a target; at least 1."""
    seen: int


def objective(loss: Loss, counts: Counts) -> Tensor:
    """This micro-batch's part of the mean loss of the whole step.

    Parts simply add up: a micro-batch without a valid token adds its routers' part only.
    """
    router = BALANCE * loss.balance + Z_LOSS * loss.z
    return loss.total / counts.valid + router / counts.seen
