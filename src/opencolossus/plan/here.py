"""The machine at hand, measured in a fraction of a second without torch."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.hardware import Fabric, Gpu, Node
from opencolossus.specs.software import Software

NAME = "this machine"
FABRIC = "quantum-2-ndr"
"""What joins several servers where nobody describes their network (assumed)."""
ON_GPUS = "bridge-2026"
"""The software that our trainer on GPUs is priced as: its speed there was not measured yet."""
MATRIX = 768
COPIED = 1 << 24
BUDGET = 0.06
"""Seconds spent on each measurement."""
WATTS_PER_CORE = 7.0
"""Rated power of one core with its share of the chip (assumed)."""


def detect(bf16_flops: float | None = None) -> Cluster:
    """This machine as a cluster of one server.

    Args:
        bf16_flops: rate of 16-bit matrix products in FLOP/s, where somebody measured it.
    """
    node = _gpu_node() or cpu_node(bf16_flops)
    pool = Pool(node=node, gpus=node.gpus)
    return Cluster(name=NAME, pools={"here": pool}, fabric=_no_fabric())


def several(processes: int, local: int, flops: float | None, link: float | None) -> Cluster:
    """This machine, and others like it, as the ``processes`` of a run, a device for each.

    Args:
        processes: on all machines.
        local: on each machine.
        flops: FLOP/s that the matrix products of one process reach while all compute, on a CPU.
        link: B/s at which one process sends while all do, on a CPU.
    """
    node = _gpu_node()
    if node is None:
        node = _part(cpu_node(flops), local, flops, link)
    node = node.model_copy(update={"gpus": local, "scale_up_domain": local})
    fabric = _no_fabric() if processes == local else catalog.entry("fabrics", FABRIC)
    pool = Pool(node=node, gpus=processes)
    return Cluster(name=NAME, pools={"here": pool}, fabric=fabric)


def software(cluster: Cluster) -> Software:
    """What trains on the machine at hand: our own trainer."""
    gpu = next(iter(cluster.pools.values())).node.gpu
    name = "opencolossus-cpu" if gpu.name.startswith("CPU") else ON_GPUS
    found: Software = catalog.entry("software", name)
    return found


def _part(node: Node, local: int, flops: float | None, link: float | None) -> Node:
    """What one of ``local`` processes has of a CPU."""
    whole = node.gpu
    gpu = whole.model_copy(
        update={
            "memory": whole.memory / local,
            "memory_bandwidth": whole.memory_bandwidth / local,
            "flops": dict.fromkeys(whole.flops, flops) if flops else whole.flops,
            "tdp": whole.tdp / local,
            "idle_power": whole.idle_power / local,
            "multiprocessors": max((whole.multiprocessors or 1) // local, 1),
        }
    )
    rate = link or node.scale_up_bandwidth
    return node.model_copy(
        update={"gpu": gpu, "scale_up_bandwidth": rate, "nic_bandwidth": rate * local}
    )


def is_here(cluster: Cluster) -> bool:
    """Whether a cluster is the machine at hand."""
    return cluster.name == NAME


@cache
def cpu_node(bf16_flops: float | None = None) -> Node:
    """The CPU as the thing that multiplies matrices."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = int(cores or 1)
    rate = matmul_rate()
    flops = {"fp32": rate, "bf16": bf16_flops or rate}
    watts = WATTS_PER_CORE * count
    gpu = Gpu(
        name=f"CPU, {count} cores of {_cpu_name()}",
        memory=float(_memory()),
        memory_bandwidth=copy_rate(),
        flops=flops,  # type: ignore[arg-type]
        tdp=watts,
        idle_power=0.25 * watts,
        multiprocessors=count,
    )
    return Node(
        name="this machine",
        gpu=gpu,
        gpus=1,
        scale_up_domain=1,
        scale_up_bandwidth=gpu.memory_bandwidth,
        nics=1,
        nic_bandwidth=1.25e9,
        host_power=0.5 * watts,
        host_idle_power=0.25 * watts,
        rated_power=2 * watts,
    )


def matmul_rate() -> float:
    """FLOP/s of 32-bit matrix products with all threads that NumPy uses: the best of a few."""
    size = MATRIX
    a = np.ones((size, size), dtype=np.float32)
    b = np.ones((size, size), dtype=np.float32)
    out = np.empty_like(a)
    return 2.0 * size**3 / _fastest(lambda: np.matmul(a, b, out=out))


def copy_rate() -> float:
    """Bytes per second that a copy reads and writes."""
    source = np.ones(COPIED // 8)
    target = np.empty_like(source)
    return 2.0 * COPIED / _fastest(lambda: np.copyto(target, source))


def _fastest(work: Callable[[], object]) -> float:
    """Shortest time of ``work`` among as many runs as the budget allows, at least three."""
    best, start, runs = float("inf"), time.perf_counter(), 0
    while runs < 3 or time.perf_counter() - start < BUDGET:
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        runs += 1
    return max(best, 1e-9)


def _memory() -> int:
    """Bytes that this process may use: the control group's limit, or the machine's memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(int(text), total)
    return total


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu_node() -> Node | None:
    """A server of the catalog with the GPUs that nvidia-smi lists, if it lists any we know."""
    names = _gpus()
    if not names:
        return None
    for entry in catalog.names("nodes"):
        node: Node = catalog.entry("nodes", entry)
        key = node.gpu.name.replace("NVIDIA ", "").split()[0]
        if key and key in names[0]:
            count = len(names)
            return node.model_copy(
                update={"name": "this machine", "gpus": count, "scale_up_domain": count}
            )
    return None


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]


def _no_fabric() -> Fabric:
    fabric: Fabric = catalog.entry("fabrics", "none")
    return fabric
