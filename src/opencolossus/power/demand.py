"""What the machines draw: GPU, server at the wall, pools with their switches and storage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from opencolossus.power.caps import Array, activity_of, clock_at_cap, gpu_power
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.hardware import Gpu, Node
from opencolossus.specs.site import Hall


def gpu_power_at_cap(gpu: Gpu, cap: ArrayLike, activity: ArrayLike) -> Array:
    """Power in W of a GPU whose driver holds ``cap`` (W) while it works at ``activity``."""
    cap = np.minimum(np.asarray(cap, dtype=float), gpu.tdp)
    return gpu_power(gpu, clock_at_cap(gpu, cap, activity), activity)


def mean_gpu_power(
    gpu: Gpu,
    cap: ArrayLike,
    compute: ArrayLike,
    memory: ArrayLike = 0.0,
    communication: ArrayLike = 0.0,
) -> Array:
    """Mean power in W over a step, from the shares of its time spent in each kind of work.

    In what remains of the step the GPU is ready and waits (pipeline bubbles, for the slowest).
    """
    shares = {"compute": compute, "memory": memory, "communication": communication}
    total = np.asarray(0.0)
    busy = np.asarray(0.0)
    for bound, share in shares.items():
        activity = activity_of(gpu, bound)  # type: ignore[arg-type]
        total = total + np.asarray(share) * gpu_power_at_cap(gpu, cap, activity)
        busy = busy + np.asarray(share)
    return np.asarray(total + (1 - busy) * gpu.ready_power)


def node_power(node: Node, gpu_power: ArrayLike, load: ArrayLike = 1.0) -> Array:
    """Power in W of one server at the wall, for GPUs that draw ``gpu_power`` each.

    ``load`` in 0..1 moves the rest of the server between idle and working. Fans follow the cube
    of the heat that the chassis must move (affinity law of fans) down to a fifth of their speed;
    the loss of the power supplies comes on top.
    """
    gpu_power, load = np.asarray(gpu_power, dtype=float), np.asarray(load, dtype=float)
    host = node.host_idle_power + load * (node.host_power - node.host_idle_power)
    share = node.gpus * gpu_power / (node.gpus * node.gpu.tdp)
    fans = node.fan_power * np.clip(share, 0.2, 1.0) ** 3
    return np.asarray((node.gpus * gpu_power + host + fans) / node.psu_efficiency)


def provisioned_node_power(node: Node, cap: ArrayLike) -> Array:
    """Power in W that must be reserved for a server whose GPUs are held to ``cap`` (W).

    The nameplate less what the cap takes away: what an electrician plans with, and what no load
    of the server exceeds. Training draws less (see ``node_power``): 8.4 of 10.2 kW at most
    (Latif et al. 2024, arXiv 2412.08602).
    """
    saved = node.gpus * (node.gpu.tdp - np.asarray(cap, dtype=float)) / node.psu_efficiency
    full = node_power(node, node.gpu.tdp)
    return np.asarray(np.maximum(node.rated_power, full) - saved)


class Nameplates(NamedTuple):
    """Power in W to reserve for what stands together, switches and storage left out."""

    server: float
    rack: float
    array: float
    """Racks on one network array."""
    hall: float | None
    """A hall full of one kind of server."""


def nameplates(pool: Pool, hall: Hall | None) -> Nameplates:
    """What servers, racks, arrays and halls of a pool draw at most."""
    server = float(provisioned_node_power(pool.node, pool.node.gpu.tdp))
    rack = server * pool.rack_servers
    racks = pool.rack.racks_per_array if pool.rack is not None else 1
    full = None if hall is None else server * hall.gpus / pool.node.gpus
    return Nameplates(server, rack, rack * racks, full)


def it_power(
    cluster: Cluster,
    gpus: dict[str, ArrayLike],
    node_power: dict[str, ArrayLike],
    switches: ArrayLike = 0.0,
) -> Array:
    """IT power in W of ``gpus`` per pool whose servers draw ``node_power`` each.

    Args:
        gpus: powered GPUs by pool; arrays broadcast against ``node_power``.
        node_power: watts of one server at the wall by pool.
        switches: powered switches of the fabric; storage and management come on top of servers
            as ``cluster.storage_share``.
    """
    servers = np.asarray(0.0)
    for name, pool in cluster.pools.items():
        if name in gpus:
            servers = servers + _pool_power(pool, gpus[name], node_power[name])
    switch = cluster.fabric.switch
    network = np.asarray(switches, dtype=float) * (switch.power if switch else 0.0)
    return np.asarray(servers * (1 + cluster.storage_share) + network)


def _pool_power(pool: Pool, gpus: ArrayLike, node_power: ArrayLike) -> Array:
    servers = np.asarray(gpus, dtype=float) / pool.node.gpus
    return np.asarray(servers * np.asarray(node_power, dtype=float))
