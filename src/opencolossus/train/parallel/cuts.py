"""Which part of every weight a process holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from opencolossus.train.parallel.groups import Group, Groups, Replicas

_ROUTED = re.compile(r"\.experts\.experts\.")
_COLUMNS = re.compile(r"\.(attention\.(query|key|value)|(feed_forward|shared|dense)\.(gate|up))\.")
_ROWS = re.compile(r"\.(attention\.output|(feed_forward|shared|dense)\.down)\.weight")


@dataclass(frozen=True)
class Cut:
    """How one weight is spread."""

    dim: int | None
    """Axis along which tensor or expert parallelism cut it; None where it is whole."""
    group: Group
    """Who holds the other pieces."""
    replicas: Replicas
    """Who holds the same piece."""
    token_wise: bool
    """Whether it works on single tokens, so that tensor-parallel ranks, which hold other tokens
    there, each have a part of its gradient."""
    fsdp: int | None = None
    """Axis along which replicas share what they keep of the piece; None where each keeps all."""

    def own(self, whole: Tensor) -> Tensor:
        """This process's piece of the whole weight, before the replicas share it."""
        return (
            whole if self.dim is None else whole.chunk(self.group.size, self.dim)[self.group.index]
        )

    def share(self, whole: Tensor) -> Tensor:
        """What this process keeps of the whole weight."""
        piece = self.own(whole)
        if self.fsdp is None:
            return piece
        group = self.replicas.share
        return piece.chunk(group.size, self.fsdp)[group.index]

    def whole_shape(self, shape: torch.Size) -> torch.Size:
        """Shape of the whole weight, from that of the piece."""
        if self.dim is None:
            return shape
        sizes = list(shape)
        sizes[self.dim] *= self.group.size
        return torch.Size(sizes)

    def shards(self) -> list[tuple[int, Group]]:
        """Axes that are spread, and over whom, from the replicas inward."""
        found = [] if self.fsdp is None else [(self.fsdp, self.replicas.share)]
        if self.dim is not None and self.group.size > 1:
            found.append((self.dim, self.group))
        return found

    def copies(self, tensor: Group) -> int:
        """Processes of a stage that hold the same numbers."""
        same = (self.replicas.all if self.fsdp is None else self.replicas.copies).size
        return same * (tensor.size if self.token_wise else 1)


def cut_of(name: str, groups: Groups) -> Cut:
    """How tensor and expert parallelism spread the weight ``name`` of a `Grok`."""
    if _ROUTED.search(name):
        return Cut(0, groups.experts, groups.same_experts, token_wise=False)
    if _COLUMNS.search(name):
        return Cut(0, groups.tensor, groups.dense, token_wise=False)
    if _ROWS.search(name):
        return Cut(1, groups.tensor, groups.dense, token_wise=False)
    return Cut(None, groups.tensor, groups.dense, token_wise=True)


def as_global(local: Tensor, cut: Cut, groups: Groups) -> Tensor:
    """The piece as a part of the whole, for checkpoints; shares memory with it."""
    shards = cut.shards()
    if not shards or local.ndim == 0:
        return local
    placements = [Shard(dim) for dim, _ in shards]
    return DTensor.from_local(local, _mesh(cut, groups, local.device.type), placements)


@lru_cache(maxsize=256)
def _mesh(cut: Cut, groups: Groups, device: str) -> DeviceMesh:
    shards = cut.shards()
    made = [group.group for _, group in shards if group.group is not None]
    if len(made) == 1:
        return DeviceMesh.from_group(made[0], device)
    grid = torch.tensor(groups.grid(cut.replicas, cut.group))
    return DeviceMesh.from_group(made, device, mesh=grid, mesh_dim_names=("share", "cut"))
