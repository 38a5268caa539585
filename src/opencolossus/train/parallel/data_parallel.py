"""What data-parallel ranks share of weights, gradients and states: PyTorch's FSDP2, in degrees.

=========  ================  =================================  ===========================
``zero``   weights           gradients                          states and fp32 weights
=========  ================  =================================  ===========================
0          whole             whole, summed once per step        whole
1          whole in a step   whole, shared out once per step    shared
2          whole in a step   shared, after every micro-batch    shared
3          shared            shared, after every micro-batch    shared
=========  ================  =================================  ===========================

The degrees are those of ZeRO (Rajbhandari et al. 2020, section 5). From 1 on ``fully_shard`` keeps
the fp32 weights, and with them the optimiser's states, in shares. Below 3 a block's weights are
gathered once per step and stay whole until its last backward pass (``reshard_after_forward`` and
``reshard_after_backward`` off); at 1 gradients are added up whole till then
(``set_requires_gradient_sync`` off). With ``shard_group`` fewer ranks share than hold the same
weights, and gradients are summed over the groups as well: HSDP, a mesh of two axes.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from opencolossus.grok.experts import Experts
from opencolossus.grok.model import Grok
from opencolossus.train.parallel.cuts import Cut
from opencolossus.train.parallel.groups import Replicas


def shard(
    network: Grok, cuts: dict[str, Cut], degree: int, device: torch.device, dtype: torch.dtype
) -> None:
    """Let replicas share what ``cuts`` give an axis for; gradients are summed, in fp32.

    The network is on the meta device, and its shares too, till they get memory on ``device``.
    All else (norms and routers, which are never rounded, and what no axis divides) stays whole.
    """
    names = {p: name for name, p in network.named_parameters()}
    kept = {p for p, name in names.items() if cuts[name].fsdp is None}
    # What comes in has its type already; FSDP would round rotary tables and router losses too.
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )

    def along(p: nn.Parameter) -> Shard:
        axis = cuts[names[p]].fsdp
        return Shard(0 if axis is None else axis)

    def wrap(module: nn.Module, replicas: Replicas) -> None:
        if replicas.share.size == 1:
            return
        fully_shard(
            module,
            mesh=_mesh(replicas, device.type),
            mp_policy=policy,
            reshard_after_forward=None if degree >= 3 else False,  # None: all but the outermost
            shard_placement_fn=along,
            ignored_params=kept & set(module.parameters()),
        )

    # Said of the losses that the network gives, which nobody changes in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    dense = next(c.replicas for n, c in cuts.items() if ".attention.query." in n)
    for block in network.blocks.values():
        for experts in (m for m in block.modules() if isinstance(m, Experts)):
            wrap(experts, next(c.replicas for n, c in cuts.items() if ".experts.experts." in n))
        wrap(block, dense)
    wrap(network, dense)
    for module in _sharded(network):
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale while it sums


def before_backward(network: Grok, degree: int, last: bool) -> None:
    """Say whether the coming backward pass is the ``last`` of this step."""
    for module in _sharded(network):
        module.set_requires_gradient_sync(degree >= 2 or last, recurse=False)
        module.set_requires_all_reduce(last, recurse=False)
        module.set_reshard_after_backward(degree >= 3 or last, recurse=False)
        module.set_is_last_backward(last)


def forget(network: Grok) -> None:
    """Let go of gathered weights: their shares have moved, or were read anew."""
    for module in _sharded(network):
        module.reshard()


def axis_to_share(shape: torch.Size, cut: Cut) -> int | None:
    """The axis along which replicas share a weight: the first whole one that divides."""
    ways = cut.replicas.share.size
    if ways == 1:
        return None
    axes = [axis for axis in range(len(shape)) if axis != cut.dim]
    return next((axis for axis in axes if shape[axis] % ways == 0), None)


def _mesh(replicas: Replicas, device: str) -> DeviceMesh:
    made = [g.group for g in (replicas.copies, replicas.share) if g.group is not None]
    if len(made) == 1:
        return DeviceMesh.from_group(made[0], device)
    grid = torch.tensor(replicas.grid())
    return DeviceMesh.from_group(made, device, mesh=grid, mesh_dim_names=("copies", "share"))


def _sharded(network: Grok) -> list[FSDPModule]:
    return [module for module in network.modules() if isinstance(module, FSDPModule)]
