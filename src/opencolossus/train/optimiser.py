"""Which weight is moved by which optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from opencolossus.specs.run import Optimiser
from opencolossus.train.muon import Muon, Spread


def is_hidden_matrix(name: str, weight: Tensor) -> bool:
    """Whether Muon may move a weight: matrices inside the blocks, routers left out.

    Embeddings, head, routers and everything with fewer than two axes go to AdamW, as Jordan et
    al. 2024 advise.
    """
    inside = ".layers." in f".{name}" or ".blocks." in f".{name}"
    return inside and weight.ndim >= 2 and "router" not in name


def build(
    weights: dict[str, Tensor],
    spec: Optimiser,
    dtype: torch.dtype = torch.float32,
    spread: Mapping[str, Spread] | None = None,
) -> dict[str, torch.optim.Optimizer]:
    """Optimisers by name over the fp32 weights; every weight belongs to exactly one.

    ``dtype`` is what Muon orthogonalises in, ``spread`` tells it of the weights that lie in pieces
    on several processes. Norm scales and other vectors are not decayed. Every group keeps its
    highest learning rate in ``highest`` for the schedule to scale.
    """
    hidden = {n for n, w in weights.items() if spec.name == "muon" and is_hidden_matrix(n, w)}
    rest = {n: w for n, w in weights.items() if n not in hidden}
    groups = [
        {"params": [w for w in rest.values() if w.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [w for w in rest.values() if w.ndim < 2], "weight_decay": 0.0},
    ]
    found: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=spec.learning_rate,
            betas=spec.betas,
            fused=True,
        )
    }
    if hidden:
        found["muon"] = Muon(
            [weights[n] for n in sorted(hidden)],
            lr=spec.matrix_learning_rate,
            weight_decay=spec.weight_decay,
            dtype=dtype,
            spread={weights[n]: s for n, s in (spread or {}).items() if n in hidden},
        )
    for optimiser in found.values():
        for group in optimiser.param_groups:
            group["highest"] = group["lr"]
    return found


def set_rate(optimisers: dict[str, torch.optim.Optimizer], factor: float) -> None:
    """Set every learning rate to ``factor`` of its highest."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * factor


def state(
    optimisers: dict[str, torch.optim.Optimizer], weights: dict[str, Tensor]
) -> Iterator[tuple[str, str, Tensor]]:
    """State tensors: their name ``optimiser.WEIGHT.kind``, that of their weight, and they."""
    names = {weight: name for name, weight in weights.items()}
    for label, optimiser in optimisers.items():
        for p, kept in optimiser.state.items():
            for kind, value in kept.items():
                yield f"{label}.{names[p]}.{kind}", names[p], value


def prime(optimisers: dict[str, torch.optim.Optimizer]) -> None:
    """Give every optimiser that never took a step its state, as it is before the first: zero."""
    for optimiser in optimisers.values():
        if optimiser.state:
            continue
        rates = [group["lr"] for group in optimiser.param_groups]
        decays = [group["weight_decay"] for group in optimiser.param_groups]
        for group in optimiser.param_groups:
            group["lr"], group["weight_decay"] = 0.0, 0.0
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        optimiser.step()
        for group, lr, decay in zip(optimiser.param_groups, rates, decays, strict=True):
            group["lr"], group["weight_decay"] = lr, decay
        optimiser.zero_grad()
        for kept in optimiser.state.values():
            torch._foreach_zero_(list(kept.values()))  # AdamW counted a step
