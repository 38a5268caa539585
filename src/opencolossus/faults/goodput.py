"""What a synchronous run loses to failures, in closed form.

Notation: w time to write a checkpoint that stops the run, dt work between two checkpoints, u0
time from a failure to running again, M mean time between interruptions, r = 1/M.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.failures import Recovery
from opencolossus.specs.scales import DAY

Array = NDArray[np.float64]

LLAMA3_NODE_RATE = 419 / (54 * DAY) / (16384 / 8)
"""Unplanned interruptions per second and 8-GPU server: 419 in 54 days on 16,384 H100
(Llama team 2024, arXiv 2407.21783, section 3.3.4): 3.79e-3 per node and day."""


def interrupt_rate(nodes: ArrayLike, node_rate: ArrayLike = LLAMA3_NODE_RATE) -> Array:
    """Interruptions per second of a job on ``nodes`` servers that fail independently.

    A synchronous job stops when any of its servers does, so rates add up (Kokolis et al. 2024,
    arXiv 2410.21680, section on MTTF: MTTF = 1 / (N r_f)).
    """
    return np.asarray(np.asarray(nodes, dtype=float) * np.asarray(node_rate, dtype=float))


def optimum_interval(write_time: ArrayLike, mttf: ArrayLike) -> Array:
    """Work between checkpoints that loses least, in s: sqrt(2 w M) - w.

    Young 1974 and Daly 2006 (eq. 13); M itself where a write takes more than half of it, as Daly
    recommends (eq. 37).
    """
    w, m = np.asarray(write_time, dtype=float), np.asarray(mttf, dtype=float)
    return np.asarray(np.where(w < m / 2, np.sqrt(2 * w * m) - w, m))


def goodput(
    rate: ArrayLike, interval: ArrayLike, write_time: ArrayLike, restart: ArrayLike
) -> Array:
    """Expected effective training time ratio (ETTR) in 0..1, to first order.

    (1 - r (u0 + dt/2)) / (1 + w/dt): Kokolis et al. 2024, arXiv 2410.21680, E[ETTR] with
    N r_f = ``rate`` and no queueing. Good while r (u0 + dt) is well below 1.
    """
    lost = np.asarray(rate) * (np.asarray(restart) + np.asarray(interval) / 2)
    overhead = 1 + np.asarray(write_time) / np.asarray(interval)
    return np.asarray(np.clip((1 - lost) / overhead, 0.0, 1.0))


def renewal_goodput(
    rate: ArrayLike, interval: ArrayLike, write_time: ArrayLike, restart: ArrayLike
) -> Array:
    """ETTR in 0..1 for any failure rate, failures also striking restarts and writes.

    Daly 2006, eq. 20: a segment of dt + w takes M exp(u0/M) (exp((dt + w)/M) - 1) on average.
    """
    r = np.maximum(np.asarray(rate, dtype=float), 1e-300)
    segment = np.asarray(interval) + np.asarray(write_time)
    with np.errstate(over="ignore"):
        duration = np.exp(r * np.asarray(restart)) * np.expm1(r * segment) / r
    return np.asarray(np.asarray(interval) / np.maximum(duration, segment))


def write_time(size: ArrayLike, bandwidth: ArrayLike, blocking: float = 1.0) -> Array:
    """Time in s that one checkpoint of ``size`` B holds up the run.

    ``blocking`` is the share of the write that training waits for: 1 when it stops for all of
    it, less when a copy in memory is written out behind the next steps.
    """
    return np.asarray(blocking * np.asarray(size, dtype=float) / np.asarray(bandwidth))


def replica_goodput(
    rate: ArrayLike, interval: ArrayLike, write_time: ArrayLike, pause: ArrayLike
) -> Array:
    """ETTR in 0..1 where the other replicas go on: no work is lost but ``pause`` s per failure.

    A renewal of 1/r of running and ``pause`` of standing still; failures that strike a pause
    begin it anew, so a pause takes (exp(r pause) - 1) / r on average.
    """
    r = np.maximum(np.asarray(rate, dtype=float), 1e-300)
    running = np.exp(-r * np.asarray(pause))
    return np.asarray(running / (1 + np.asarray(write_time) / np.asarray(interval)))


def outage(recovery: Recovery, ranks: ArrayLike, replicas: ArrayLike) -> Array:
    """Time in s that an unplanned failure takes from a job, lost work left out.

    A restart: detection, processes, and communicators that grow with ``ranks``. Replicas that go
    on: their pause, and the lone replica's restart as its share of the job.
    """
    restart = recovery.restart + recovery.setup_per_rank * np.asarray(ranks, dtype=float)
    whole = recovery.detection + restart
    if recovery.mode == "restart":
        return np.asarray(whole)
    return np.asarray(recovery.regroup + whole / np.asarray(replicas, dtype=float))


TECTONIC_PER_GPU = 80e6
"""Checkpoint bandwidth in B/s per GPU where the storage does not tell: Meta's Tectonic sustained
2 TB/s for 24,000 GPUs (Llama team 2024, arXiv 2407.21783, section 3.3.1)."""


def checkpoint_bandwidth(cluster: Cluster, pool: Pool, gpus: ArrayLike) -> Array:
    """Rate in B/s at which ``gpus`` of a pool write their checkpoint, each its own shard.

    To storage: what the cluster tells, else what Llama 3's storage gave per GPU. To the memory of
    other hosts: the network ports of the servers (Wang et al. 2023, GEMINI, SOSP).
    """
    count = np.asarray(gpus, dtype=float)
    failures = cluster.failures
    if failures is not None and failures.recovery.checkpoint == "memory":
        node = pool.node
        return np.asarray(count * node.nics * node.nic_bandwidth / node.gpus)
    if cluster.storage_bandwidth is not None:
        return np.full(count.shape, cluster.storage_bandwidth)
    return np.asarray(count * TECTONIC_PER_GPU)


def checkpoint_size(parameters: ArrayLike, master: float = 4.0, moments: float = 8.0) -> Array:
    """Bytes of one checkpoint: fp32 weights and Adam's two moments, 12 B per parameter.

    The 16-bit weights are a rounding of the fp32 ones and need no room (Rajbhandari et al. 2020,
    ZeRO, section 3.1: K = 12). BLOOM-176B wrote 2.3 TB, 13 B per parameter.
    """
    return np.asarray(np.asarray(parameters, dtype=float) * (master + moments))
