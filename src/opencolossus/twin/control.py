"""Holding the cluster to its watts, hour by hour: caps first, then fewer servers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.caps import speed_at_cap
from opencolossus.power.demand import mean_gpu_power, node_power
from opencolossus.specs.cluster import Cluster

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """The cluster's servers over the hours; [P, H] where it says so, else [H]."""

    nodes: Array
    """Servers that are on, [P, H]."""
    network: Array
    """Power of the switches in W."""
    cap: Array
    """Planned cap as a share of the rated power."""
    compute: Array
    memory: Array
    communication: Array


@dataclass(frozen=True)
class Held:
    """What the controller decides; [H] each."""

    cap: Array
    """Share of the rated power."""
    on: Array
    """Share of the servers that are on."""


def peak(cluster: Cluster, load: Load, cap: Array, on: Array | float = 1.0) -> Array:
    """IT power in W that the servers never exceed at ``cap``, [H]."""
    fixed, slope = _affine(cluster, load)
    return np.asarray(on * (fixed + slope * cap) + (np.asarray(on) > 0) * load.network)


def hold(cluster: Cluster, load: Load, it_limit: Array) -> Held:
    """Lower the cap, then switch servers off, until the peak fits ``it_limit`` (W) each hour.

    Switches stay on as long as any server does.
    """
    fixed, slope = _affine(cluster, load)
    room = it_limit - load.network
    lowest = lowest_cap(cluster)
    wanted = np.maximum(load.cap, lowest)
    fit = np.divide(room - fixed, slope, out=np.ones_like(slope), where=slope > 0)
    cap = np.clip(fit, lowest, wanted)
    needed = fixed + slope * cap
    on = np.divide(room, needed, out=np.ones_like(needed), where=needed > 0)
    return Held(cap, np.clip(on, 0.0, 1.0))


def meter(cluster: Cluster, load: Load, held: Held, it_limit: Array) -> Held:
    """Lower caps further, then switch servers off, until the mean of full work fits ``it_limit``.

    ``it_limit`` [S] in W. The mean rises with the cap, so the highest cap that fits is bisected.
    """
    working, all_there = np.array(1.0), np.ones((len(cluster.pools), 1))

    def draws(cap: Array) -> Array:
        return mean(cluster, load, Held(cap, np.ones(cap.shape)), working, all_there)

    low, high = np.full(held.cap.shape, lowest_cap(cluster)), held.cap
    for _ in range(40):
        middle = (low + high) / 2
        fits = draws(middle) <= it_limit
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    cap = np.where(draws(held.cap) <= it_limit, held.cap, np.minimum(low, held.cap))
    needed = draws(cap) - load.network
    room = np.clip(it_limit - load.network, 0.0, None)
    on = np.divide(room, needed, out=np.ones_like(needed), where=needed > 0)
    return Held(cap, np.minimum(held.on, np.where(on < 1 - 1e-9, on, 1.0)))


def lowest_cap(cluster: Cluster) -> float:
    """Lowest cap that every driver of the cluster accepts, as a share of the rated power."""
    gpus = [pool.node.gpu for pool in cluster.pools.values()]
    return max(max(gpu.min_cap, 1.05 * gpu.ready_power) / gpu.tdp for gpu in gpus)


def servers(cluster: Cluster, load: Load, held: Held, running: Array) -> Array:
    """Mean power in W over each hour of one server of each pool that is on, [P, H].

    ``running`` is the share of the hour in which the job computes.
    """
    found = []
    for pool in cluster.pools.values():
        gpu = pool.node.gpu
        busy = mean_gpu_power(
            gpu, held.cap * gpu.tdp, load.compute, load.memory, load.communication
        )
        working = node_power(pool.node, busy)
        idle = node_power(pool.node, gpu.idle_power, load=0.0)
        found.append(running * working + (1 - running) * idle)
    return np.array(found)


def mean(cluster: Cluster, load: Load, held: Held, running: Array, present: Array) -> Array:
    """Mean IT power in W over each hour, [H].

    ``running`` is the share of the hour in which the job computes, ``present`` [P, H] the share
    of the servers that are not in repair.
    """
    each = servers(cluster, load, held, running)
    total = held.on * (load.nodes * present * each).sum(axis=0) * (1 + cluster.storage_share)
    return np.asarray(total + (held.on > 0) * load.network)


def speed(cluster: Cluster, load: Load, cap: Array, clock: Array) -> Array:
    """Speed of a step at ``cap`` and ``clock`` (thermal limit) relative to the planned cap, [H].

    Matrix products slow down with the clock; the rest of the step keeps its time. The slowest
    pool sets the pace of a synchronous job.
    """
    slowest = np.ones(load.cap.shape)
    for row, pool in enumerate(cluster.pools.values()):
        gpu = pool.node.gpu
        planned = speed_at_cap(gpu, np.maximum(load.cap, 1e-6) * gpu.tdp)
        now = np.maximum(speed_at_cap(gpu, cap * gpu.tdp) * clock, 1e-9)
        time = load.compute * planned / now + (1 - load.compute)
        relative = np.where(load.nodes[row] > 0, 1 / np.maximum(time, 1e-9), np.inf)
        slowest = np.minimum(slowest, relative)
    return slowest


def _affine(cluster: Cluster, load: Load) -> tuple[Array, Array]:
    """IT power of servers as fixed + slope x cap, with fans and hosts at their most."""
    fixed, slope = np.zeros(load.cap.shape), np.zeros(load.cap.shape)
    for row, pool in enumerate(cluster.pools.values()):
        node = pool.node
        share = (1 + cluster.storage_share) / node.psu_efficiency
        fixed = fixed + load.nodes[row] * (node.host_power + node.fan_power) * share
        slope = slope + load.nodes[row] * node.gpus * node.gpu.tdp * share
    return fixed, slope
