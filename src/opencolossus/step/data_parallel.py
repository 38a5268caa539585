"""What replicas exchange every step, and what hides it.

Without weight sharding gradients are reduced once and weights gathered once per step. Software
starts both beside the last backward and the next first forward pass, and yet published steps take
as long as if nothing hid them: what is hidden comes back as slower compute and as networks that
large groups do not fill. With FSDP (ZeRO-3) every layer gathers its weights twice and reduces its
gradients once per micro-batch, under the compute of its neighbours (Zhao et al. 2023, arXiv
2304.11277, section 3). That compute is slowed meanwhile: messages need multiprocessors, and memory
bandwidth several times their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opencolossus.step.collectives import ALL_PORTS, Gathering, gather_time
from opencolossus.step.columns import Array
from opencolossus.step.compute import streaming_time
from opencolossus.step.layer import Layer
from opencolossus.step.layouts import FULL, Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.memory import layer_weights, local_weights
from opencolossus.step.pipeline import slots
from opencolossus.step.shape import Shape

SHARPNESS = 4.0
"""Exponent of the norm that joins two overlapping streams: near their maximum, a little above it
where they are equally long and cannot be perfectly interleaved."""
CHANNELS = 16
"""Multiprocessors that NCCL's kernels keep busy, one for each channel."""
TWO = np.asarray(2.0)
"""Bytes of a weight that is gathered."""
COPIES = 5.0
"""Bytes of memory traffic for each byte that arrives: written by the peer into a buffer, read,
added to what is read, written, read again for the next rank (NCCL's simple protocol)."""


def joined(a: Array, b: Array) -> Array:
    """Seconds of two streams of work that overlap."""
    high = np.maximum(np.maximum(a, b), 1e-30)
    ratio = np.minimum(a, b) / high
    return high * (1 + ratio**SHARPNESS) ** (1 / SHARPNESS)


def exposed(shape: Shape, machine: Machine, code: Code, layouts: Layouts, one: Layer) -> Array:
    """Exposed seconds of a step's communication between replicas."""
    sharded = layouts.zero >= 3
    if sharded.all():
        return _sharded(shape, machine, code, layouts, one)
    replicated = _replicated(shape, machine, code, layouts)
    if not sharded.any():
        return replicated
    return np.where(sharded, _sharded(shape, machine, code, layouts, one), replicated)


def _stride(layouts: Layouts) -> Array:
    return layouts.tensor  # context-parallel ranks hold the same weights and join the group


def _replicated(s: Shape, machine: Machine, code: Code, layouts: Layouts) -> Array:
    dense, routed = local_weights(s, layouts)
    reduce, gather = _exchange(
        machine, layouts, dense * s.trained, routed * s.trained, (code.gradient, TWO)
    )
    return reductions(layouts) * reduce + gather


def reductions(layouts: Layouts) -> Array:
    """How often a step reduces each gradient: once where every rank keeps them whole.

    Where they are sharded (ZeRO-2), after each micro-batch; but an interleaved schedule works on
    as many micro-batches as there are stages before it leaves a chunk, so that their gradients
    are added up before (Chu et al. 2025, Scaling Llama 3 training, section 3).
    """
    each = layouts.micro_batches
    grouped = np.where(layouts.virtual > 1, np.ceil(each / layouts.pipeline), each)
    return np.where(layouts.zero >= 2, grouped, 1.0)


def _exchange(
    machine: Machine, layouts: Layouts, dense: Array, routed: Array, widths: Sequence[Array]
) -> list[Array]:
    """Seconds to reduce-scatter or all-gather all weights of a GPU, of each of ``widths`` B.

    Sharers reduce among themselves; where they are fewer than the replicas, what each holds is
    added up across the groups too.
    """
    group, stride = layouts.sharers, _stride(layouts)
    inside = Gathering(machine, group, stride)
    seconds = [inside.seconds(dense * width) for width in widths]
    if layouts.shard_group.any():
        across = Gathering(machine, layouts.replicas / group, stride * group)
        shares = [across.seconds(dense * width / group) for width in widths]
        seconds = [one + more for one, more in zip(seconds, shares, strict=True)]
    experts = _experts(machine, layouts, layouts.expert_replicas, routed, widths)
    return [one + more for one, more in zip(seconds, experts, strict=True)]


def _experts(
    machine: Machine,
    layouts: Layouts,
    ranks: Array,
    routed: Array,
    widths: Sequence[Array],
    ports: Array = ALL_PORTS,
) -> list[Array]:
    """The same of routed weights among ``ranks`` that hold the same experts."""
    if not routed.any():
        return [np.asarray(0.0) for _ in widths]
    group = Gathering(machine, ranks, layouts.expert * layouts.expert_tensor, ports)
    return [np.where(routed > 0, group.seconds(routed * width), 0.0) for width in widths]


def _sharded(s: Shape, machine: Machine, code: Code, layouts: Layouts, one: Layer) -> Array:
    """Exposed seconds of FSDP: per layer, what its neighbours' compute does not hide."""
    dense, routed = layer_weights(s, layouts)
    gather, reduce = _exchange_layer(machine, code, layouts, dense, routed)
    reduce = reduce * s.trained
    taken = _taken(machine, 2 * (dense + routed), gather)
    forward = one.forward + one.gap / 3
    backward = one.total - forward
    both = gather + reduce
    extra = joined(forward + taken * gather, gather) - forward
    extra = extra + joined(backward + taken * both, both) - backward
    overlaps = code.overlap_gradients + code.overlap_weights > 0
    extra = np.where(overlaps, extra, 2 * gather + reduce)
    stage = np.minimum(slots(s.layers, layouts), s.layers)
    inside = layouts.micro_batches * stage * extra + gather + reduce
    if not layouts.shard_group.any():
        return inside
    across, last = _across_groups(s, machine, code, layouts), stage * backward
    beside = joined(last + CHANNELS / machine.units * across, across) - last
    return inside + np.where(overlaps, beside, across)


def _taken(machine: Machine, size: Array, seconds: Array) -> Array:
    """Share of a GPU's speed that is lost while ``size`` B arrive within ``seconds``."""
    traffic = COPIES * streaming_time(machine, size) / np.maximum(seconds, 1e-12)
    return np.minimum(CHANNELS / machine.units + traffic, 1.0)


def _exchange_layer(
    machine: Machine, code: Code, layouts: Layouts, dense: Array, routed: Array
) -> tuple[Array, Array]:
    """Seconds to gather the weights of a layer among sharers, and to reduce its gradients."""
    widths = (TWO, code.gradient)
    ports = np.where(code.ports > 0, code.ports, np.inf)
    group = Gathering(machine, layouts.sharers, _stride(layouts), ports)
    seconds = (group.seconds(dense * width) for width in widths)
    experts = _experts(machine, layouts, layouts.expert_sharers, routed, widths, ports)
    gather, reduce = (one + more for one, more in zip(seconds, experts, strict=True))
    return gather, reduce


def _across_groups(s: Shape, machine: Machine, code: Code, layouts: Layouts) -> Array:
    """Hybrid sharding: gradients of each shard are added up over the groups, once per step."""
    dense, routed = local_weights(s, layouts)
    dense, routed = dense * s.trained, routed * s.trained
    share, stride = layouts.sharers, _stride(layouts)
    others = layouts.replicas / share
    seconds = gather_time(machine, others, stride * share, dense * code.gradient / share)
    ways, apart = layouts.expert_sharers, layouts.expert * layouts.expert_tensor
    others = layouts.expert_replicas / ways
    experts = gather_time(machine, others, apart * ways, routed * code.gradient / ways)
    return 2 * (seconds + np.where(routed > 0, experts, 0.0))


__all__ = ["FULL", "exposed", "joined"]
