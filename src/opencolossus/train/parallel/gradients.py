"""What is left to do to gradients after the backward pass: sums over processes, and their norm."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from opencolossus.train.parallel.collectives import all_sum
from opencolossus.train.parallel.cuts import Cut
from opencolossus.train.parallel.groups import Group, Groups

BUCKET = 1 << 24
"""Numbers that are summed in one message."""
TIED = "embed.weight"


def add_up(
    weights: dict[str, Tensor], cuts: dict[str, Cut], groups: Groups, tied_ends: bool
) -> None:
    """Make each gradient that of the whole objective, at every process that holds the weight."""
    replicas: dict[Group, list[Tensor]] = defaultdict(list)
    tensor: list[Tensor] = []
    for name in sorted(weights):
        grad, cut = weights[name].grad, cuts[name]
        if grad is None:
            continue
        if cut.fsdp is None:
            replicas[cut.replicas.all].append(grad)
        if cut.token_wise:
            tensor.append(grad)
    for group, grads in replicas.items():
        _sum(grads, group)
    _sum(tensor, groups.tensor)
    tied = weights[TIED].grad if tied_ends and TIED in weights else None
    if tied is not None:
        _sum([tied], groups.ends)


def norm(
    weights: dict[str, Tensor], cuts: dict[str, Cut], groups: Groups, tied_ends: bool
) -> float:
    """Norm of the whole gradient, every number counted once, wherever copies of it lie."""
    device = next(iter(weights.values())).device
    total = torch.zeros((), dtype=torch.float64, device=device)
    for name in sorted(weights):
        grad = weights[name].grad
        if grad is not None:
            copies = cuts[name].copies(groups.tensor) * (2 if tied_ends and name == TIED else 1)
            # In double precision, without a copy of the gradient in it.
            total += torch.linalg.vector_norm(grad, dtype=torch.float64).square() / copies
    return float(all_sum(total, groups.world).sqrt())


def _sum(grads: list[Tensor], group: Group) -> None:
    if group.size == 1:
        return
    bucket: list[Tensor] = []
    for grad in grads:
        bucket.append(grad)
        if sum(g.numel() for g in bucket) >= BUCKET:
            _sum_bucket(bucket, group)
            bucket = []
    if bucket:
        _sum_bucket(bucket, group)


def _sum_bucket(grads: list[Tensor], group: Group) -> None:
    flat = all_sum(torch.cat([grad.flatten() for grad in grads]), group)
    for grad, piece in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(piece.view_as(grad))
