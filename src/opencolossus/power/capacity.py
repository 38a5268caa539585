"""How many GPUs a number of watts carries.

A site is planned for the power that its servers could draw, not for what they do draw: breakers,
substations and generators trip on peaks. So capacity counts each server at its nameplate less
what the cap takes away, with its share of switches and storage, times the PUE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from opencolossus.power.caps import Array
from opencolossus.power.demand import provisioned_node_power
from opencolossus.specs.cluster import Cluster, Pool


def provisioned_gpu_power(
    cluster: Cluster, pool: Pool, cap: ArrayLike, switches_per_gpu: ArrayLike = 0.0
) -> Array:
    """IT power in W to reserve per GPU held to ``cap`` (W), its share of everything included."""
    server = provisioned_node_power(pool.node, cap) * (1 + cluster.storage_share)
    switch = cluster.fabric.switch
    network = np.asarray(switches_per_gpu, dtype=float) * (switch.power if switch else 0.0)
    return np.asarray(server / pool.node.gpus + network)


def gpus_carried(
    cluster: Cluster,
    pool: Pool,
    limit: ArrayLike,
    cap: ArrayLike,
    pue: ArrayLike,
    switches_per_gpu: ArrayLike = 0.0,
) -> Array:
    """GPUs in whole servers that ``limit`` (W, at the site's entry) carries at ``cap`` (W).

    Arrays broadcast. Not bounded by the GPUs that are there.
    """
    each = provisioned_gpu_power(cluster, pool, cap, switches_per_gpu) * np.asarray(pue)
    servers = np.floor(np.asarray(limit, dtype=float) / (each * pool.node.gpus) + 1e-9)
    return np.asarray(servers * pool.node.gpus)
