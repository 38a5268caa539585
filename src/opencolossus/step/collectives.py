"""Messages between ranks, by the algorithm that NCCL would choose.

p ranks, n bytes per rank, B bandwidth per rank and direction, a latency per hop:

* ring all-reduce 2 (p-1) a + 2 (p-1)/p n/B (Patarasuk & Yuan 2009, eq. 2);
* double binary tree 2 log2(p) a + 2 n/B, pipelined (Sanders, Speck & Träff 2009);
* in-network reduction: one way up and down, (n/B) (1 + 1/p) (NVLink SHARP, NCCL 2.17 notes),
  and 2 sqrt(a n/B) to fill and drain the pipeline of chunks of the best size (as for trees);
* reduce-scatter and all-gather: half a ring, or log2(p) hops with parallel aggregated trees
  (PAT, NCCL 2.23 notes, 2024).

Across servers each of g local ranks drives its own network port, so a ring moves g x nic.
"""

from __future__ import annotations

import numpy as np

from opencolossus.step.columns import Array
from opencolossus.step.compute import streaming_time
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape

HOP_UP = 2.0e-6
"""Latency in s of one hop over the scale-up network, launch share included: a 32 KiB all-reduce
on 8 H200 runs at a bus bandwidth of 1.4 GB/s, 41 us for 14 ring hops or 6 tree hops
(stas00/ml-engineering, network/README.md)."""
SWITCH_REACH = 0.84
"""Rate of in-network reduction relative to rings: bus bandwidths of 480 and 367 GB/s on 8 H100
(same source) are 308 and 367 GB/s on each link, as the switch halves what crosses it."""

ALL_PORTS = np.asarray(np.inf)
IN_ONE = np.asarray(0.0)

LEFT = 0.1
"""Share of dispatch that is exposed however much work runs beside it: the first and the last of a
step, and what both compete for."""


def ring_factor(ranks: Array) -> Array:
    """(p - 1) / p: the share of a buffer that leaves each rank."""
    return (ranks - 1) / np.maximum(ranks, 1.0)


def all_reduce_up(machine: Machine, ranks: Array, size: Array, in_two: Array = IN_ONE) -> Array:
    """Seconds to add up ``size`` B over ``ranks`` that sit together in the fastest rank order.

    Ranks beyond the scale-up domain cross to other servers, as a ring over all of them. Where
    ``in_two`` is 1, it is a reduce-scatter and, later, an all-gather: then the switch saves
    nothing, since what comes back no longer travels beside what goes.
    """
    local = np.minimum(ranks, machine.domain)
    nodes = np.ceil(ranks / machine.domain)
    bandwidth = machine.link * machine.link_reach
    ring = 2 * ring_factor(local) * size / bandwidth + 2 * (local - 1) * HOP_UP
    through = (1 + 1 / np.maximum(local, 1.0)) * size / (bandwidth * SWITCH_REACH)
    switch = through + 2 * HOP_UP + 2 * np.sqrt(HOP_UP * through)
    tree = 2 * size / bandwidth + 2 * np.log2(np.maximum(local, 1.0)) * HOP_UP
    inside = np.minimum(ring, tree)
    inside = np.where(machine.reduces > in_two, np.minimum(inside, switch), inside)
    outside = all_reduce_out(machine, nodes, local, size)
    return np.where(ranks > 1, machine.start + inside + np.where(nodes > 1, outside, 0.0), 0.0)


def all_reduce_out(machine: Machine, nodes: Array, local: Array, size: Array) -> Array:
    """Seconds to add up over ``nodes`` servers what ``local`` ranks of each hold in parts."""
    bandwidth = np.maximum(local, 1.0) * _nic(machine, nodes * machine.node)
    hop = _hop(machine, nodes)
    ring = 2 * ring_factor(nodes) * size / bandwidth + 2 * (nodes - 1) * hop
    tree = 2 * size / bandwidth + 2 * np.log2(np.maximum(nodes, 1.0)) * hop
    return np.minimum(ring, tree)


class Gathering:
    """All-gathers and reduce-scatters of one group of ranks, for buffers of any size.

    Args:
        ranks: members of the group.
        stride: distance between neighbours in the rank order; ``domain / stride`` of them share
            a scale-up domain, and drive as many network ports.
        ports: the most of them that are used.
    """

    def __init__(
        self, machine: Machine, ranks: Array, stride: Array, ports: Array = ALL_PORTS
    ) -> None:
        local = np.clip(np.floor(machine.domain / stride), 1.0, ranks)
        nodes = np.ceil(ranks / local)
        fast = machine.link * machine.link_reach
        slow = np.minimum(np.minimum(local, ports) * _nic(machine, ranks * stride), fast)
        hops = np.minimum(nodes - 1, 4 * np.log2(np.maximum(nodes, 1.0)))
        self.several = ranks > 1
        self.start = machine.start
        self.share = ring_factor(ranks)
        self.bandwidth = np.where(nodes > 1, slow, fast)
        self.inside = (local - 1) * HOP_UP
        self.outside = np.where(nodes > 1, hops * _hop(machine, nodes), 0.0)

    def seconds(self, size: Array) -> Array:
        """Seconds for a buffer of ``size`` B."""
        moving = self.share * size / self.bandwidth
        return np.where(self.several, self.start + (moving + self.inside + self.outside), 0.0)


def gather_time(machine: Machine, ranks: Array, stride: Array, size: Array) -> Array:
    """Seconds of one all-gather or reduce-scatter of a ``size`` B buffer (``Gathering``)."""
    return Gathering(machine, ranks, stride).seconds(size)


def send_time(machine: Machine, stride: Array, size: Array) -> Array:
    """Seconds of one message of ``size`` B to the rank ``stride`` further."""
    near = stride < machine.domain
    bandwidth = np.where(near, machine.link * machine.link_reach, _nic(machine, 2 * stride))
    hop = np.where(near, HOP_UP, _hop(machine, np.ceil(stride / machine.node)))
    return machine.start / 2 + hop + size / bandwidth


def dispatch_time(s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array) -> Array:
    """Seconds of one all-to-all that sends tokens to their experts (or brings them back).

    Each rank holds tokens / tensor of them; (expert - g) / expert of their copies leave the
    scale-up domain of g expert ranks. Where a token crosses to a server once however many of its
    experts are there (DeepSeek-V3 report 2024, section 3.2.2), copies shrink to the expected
    number of distinct servers, and within a server to that of its ranks.
    """
    ranks, top = layouts.expert, s.experts_per_token
    group = np.clip(machine.domain / layouts.expert_tensor, 1.0, ranks)
    domains = np.maximum(ranks / group, 1.0)
    mine = tokens / layouts.tensor * 2 * s.width
    distinct = met(s, domains)
    copies = np.where(code.deduplicates > 0, np.minimum(distinct, top), top)
    far = mine * copies * (1 - 1 / domains) * code.imbalance
    once = met(s, ranks)
    near = (
        mine
        * np.where(code.deduplicates > 0, np.minimum(once, top), top)
        * ring_factor(group)
        * code.imbalance
    )
    inside = near / (machine.link * machine.link_reach)
    # on the scale-up network tokens travel while those before them are put in order, where one
    # kernel does both (DeepEP, HybridEP); an all-to-all of NCCL starts when all are in order
    sorting = streaming_time(machine, 4 * code.routing * tokens / layouts.tensor * top * s.width)
    excess = np.maximum(inside - sorting, LEFT * inside)
    inside = np.where(code.deduplicates > 0, excess, inside)
    outside = far / (_nic(machine, ranks * layouts.expert_tensor) * code.dispatch)
    spread = gather_time(machine, layouts.expert_tensor, np.asarray(1.0), mine * top)
    spread = np.where(layouts.expert_tensor > 1, spread, 0.0)
    hops = np.log2(np.maximum(ranks, 1.0)) * HOP_UP
    return np.where(ranks > 1, machine.start + hops + np.maximum(inside, outside), 0.0) + spread


def met(s: Shape, groups: Array) -> Array:
    """Expected number of ``groups`` of experts, all of one size, that a token's experts are in.

    Any experts: N (1 - (1 - 1/N)^k). Consecutive ones begin anywhere and enter the next group with
    each of the k - 1 steps in one of E/N cases.
    """
    top = s.experts_per_token
    anywhere = groups * (1 - (1 - 1 / np.maximum(groups, 1.0)) ** top)
    in_row = 1 + (top - 1) * groups / np.maximum(s.experts, 1.0)
    return np.where(s.neighbours > 0, np.minimum(in_row, groups), anywhere)


def kv_exchange(
    s: Shape, machine: Machine, code: Code, layouts: Layouts, tokens: Array, core: Array
) -> Array:
    """Exposed seconds of context parallelism in one layer, forward and backward.

    In a ring, keys and values travel context - 1 times round while the attention core works on
    what has arrived (Liu et al. 2023, ring attention); the backward pass carries their gradients
    too. Or all of them are gathered before the core starts, and once more for the backward pass,
    whose gradients are reduce-scattered (Llama team 2024, section 3.3.2): nothing hides that, but
    any mask will do.
    """
    ring = layouts.context
    heads = np.maximum(s.kv_heads / layouts.tensor, 1.0)
    size = np.where(s.kv_rank > 0, s.heads / layouts.tensor, heads) * (s.key_size + s.value_size)
    message = 2 * tokens * size
    seconds = send_time(machine, layouts.tensor * np.minimum(ring, 2.0), message)
    forward = np.maximum(seconds - core / ring, 0.1 * seconds)
    backward = np.maximum(2 * seconds - 2.5 * core / ring, 0.2 * seconds)
    around = np.where(ring > 1, (ring - 1) * (forward + backward), 0.0)
    gathered = 3 * gather_time(machine, ring, layouts.tensor, ring * message)
    return np.where(code.gathers_context > 0, gathered, around)


def _nic(machine: Machine, span: Array) -> Array:
    """Bandwidth per GPU to ranks ``span`` GPUs away, in B/s; above a pod it is shared."""
    return machine.nic / np.where(span > machine.pod, machine.oversubscription, 1.0)


def _hop(machine: Machine, nodes: Array) -> Array:
    """Latency between servers: a switch more on the way up and down for each tier."""
    far = nodes * machine.node > machine.pod
    return machine.hop * np.where(far, np.maximum(2 * machine.tiers - 1, 1.0) ** 0.5, 1.0)
