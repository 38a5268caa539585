"""Fully sharded data parallel (PyTorch's FSDP2), around the blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from opencolossus.grok.experts import Experts
from opencolossus.grok.model import Grok
from opencolossus.train.parallel.cuts import Cut
from opencolossus.train.parallel.groups import Group
from opencolossus.train.precision import stays_fp32


def shard(network: Grok, cuts: dict[str, Cut], dtype: torch.dtype) -> None:
    """Let the replicas of every large weight share it; gradients are summed, in fp32.

    Norms and routers are small and never rounded: every process keeps them whole.
    """
    names = {p: name for name, p in network.named_parameters()}
    # What nobody else holds a copy of is not shared either: experts where each rank has its own.
    kept = {p for p, name in names.items() if stays_fp32(name) or cuts[name].replicas.group is None}
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)

    def along(p: nn.Parameter) -> Shard:
        axis = cuts[names[p]].fsdp
        return Shard(0 if axis is None else axis)

    def wrap(module: nn.Module, group: Group) -> None:
        if group.group is None:
            return
        mesh = DeviceMesh.from_group(group.group, next(module.parameters()).device.type)
        fully_shard(
            module,
            mesh=mesh,
            mp_policy=policy,
            shard_placement_fn=along,
            ignored_params=kept & set(module.parameters()),
        )

    dense = next(c.replicas for n, c in cuts.items() if ".attention.query." in n)
    for block in network.blocks.values():
        for experts in (m for m in block.modules() if isinstance(m, Experts)):
            wrap(experts, next(c.replicas for n, c in cuts.items() if ".experts.experts." in n))
        wrap(block, dense)
    wrap(network, dense)
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale while it sums


def axis_to_share(shape: torch.Size, cut: Cut) -> int | None:
    """The axis along which the replicas share a weight: the first whole one that divides."""
    if cut.replicas.size == 1:
        return None
    axes = [axis for axis in range(len(shape)) if axis != cut.dim]
    return next((axis for axis in axes if shape[axis] % cut.replicas.size == 0), None)


def local(weight: Tensor) -> Tensor:
    """The piece of a (maybe sharded) weight that this process holds; shares its memory."""
    from torch.distributed.tensor import DTensor

    return weight.to_local() if isinstance(weight, DTensor) else weight
