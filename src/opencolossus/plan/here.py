"""The machine at hand as a cluster, and a run as our own trainer would do it there."""

from __future__ import annotations

import subprocess

from opencolossus.plan import facts, mode
from opencolossus.plan.facts import Facts
from opencolossus.plan.survive import usual
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.document import Description
from opencolossus.specs.failures import Failures
from opencolossus.specs.gpu_names import by_driver_name
from opencolossus.specs.hardware import Fabric, Gpu, Node, Precision, is_cpu
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run

NAME = "this machine"
FABRIC = "quantum-2-ndr"
"""What joins several servers where nobody describes their network (assumed)."""
ON_GPUS = "bridge-2026"
"""The software that our trainer on GPUs is priced as: its speed there was not measured yet."""
WATTS_PER_CORE = 7.0
"""Rated power of one core with its share of the chip (assumed)."""


def ready(description: Description, found: Facts | None = None) -> tuple[Description, str]:
    """A description without a cluster as one process of our trainer runs it here.

    Args:
        found: what the CPU reaches; what was measured last, or NumPy's figures, if left out.

    Returns:
        The description with the machine as its cluster and all that the trainer decides by itself,
        and the catalog's name of the trainer in that mode.
    """
    node = _gpu_node()
    cluster = _cluster(node, node.gpus) if node else several(1, 1, found or facts.known())
    run, software = decided(description.run, description.model, cluster)
    if node is None and run.layout is None:
        run = run.model_copy(update={"layout": mode.plain_layout(run, Layout(), 1)})
    return description.model_copy(update={"cluster": cluster, "run": run}), software


def decided(run: Run, model: Model, cluster: Cluster) -> tuple[Run, str]:
    """A run in the precision that the trainer takes on this machine, and the trainer's mode."""
    gpu = next(iter(cluster.pools.values())).node.gpu
    if not is_cpu(gpu.name):
        return run, ON_GPUS
    gain = gpu.flops["bf16"] / gpu.flops["fp32"]
    precision = mode.on_cpu(run.precision, lambda: gain)
    compiled = mode.compiled(run, model, True, facts.has_compiler)
    return run.model_copy(update={"precision": precision}), mode.trainer(compiled, precision, gain)


def several(processes: int, local: int, found: Facts | None, cpu: str | None = None) -> Cluster:
    """This machine, and others like it, as the ``processes`` of a run, a device for each.

    Args:
        processes: on all machines.
        local: on each machine.
        found: what one process reaches while all others do the same; None on GPUs.
        cpu: name of the processor; this machine's if left out.
    """
    node = _gpu_node() if found is None else None
    if node is None:
        node = cpu_node(found or facts.by_numpy(), local, cpu)
    node = node.model_copy(update={"gpus": local, "scale_up_domain": local})
    return _cluster(node, processes)


def software(cluster: Cluster, compiled: mode.Compiling, precision: Precision) -> str:
    """What trains on the machine at hand, by its name in the catalog: our own trainer."""
    gpu = next(iter(cluster.pools.values())).node.gpu
    if not is_cpu(gpu.name):
        return ON_GPUS
    return mode.trainer(compiled, precision, gpu.flops["bf16"] / gpu.flops["fp32"])


def cpu_node(found: Facts, local: int = 1, cpu: str | None = None) -> Node:
    """The CPU as the thing that multiplies matrices, or what one of ``local`` processes has of it.

    Rates are those of one process; memory and watts are shared out.
    """
    count = facts.cores()
    watts = WATTS_PER_CORE * count / local
    gpu = Gpu(
        name=f"CPU, {count} cores of {cpu or facts.cpu_name()}",
        memory=facts.memory() / local,
        memory_bandwidth=found.copied,
        flops={"fp32": found.fp32, "bf16": found.bf16},
        tdp=watts,
        idle_power=0.25 * watts,
        multiprocessors=max(count // local, 1),
    )
    link = found.sent or found.copied
    return Node(
        name=NAME,
        gpu=gpu,
        gpus=1,
        scale_up_domain=1,
        scale_up_bandwidth=link,
        message_start=found.start,
        nics=1,
        nic_bandwidth=link * local if found.sent else 1.25e9,
        host_power=0.5 * watts * local,
        host_idle_power=0.25 * watts * local,
        rated_power=2 * watts * local,
    )


def _cluster(node: Node, processes: int) -> Cluster:
    name = "none" if processes <= node.gpus else FABRIC
    fabric: Fabric = catalog.entry("fabrics", name)
    pools = {"here": Pool(node=node, gpus=processes)}
    return Cluster(name=NAME, pools=pools, fabric=fabric, failures=_failures())


def _failures() -> Failures:
    """Those of a large cluster's parts; nobody plans stops for a machine of one's own."""
    causes = {name: one for name, one in usual().causes.items() if one.group != "planned"}
    return usual().model_copy(update={"causes": causes})


def has_gpus() -> bool:
    """Whether the machine has GPUs that the catalog knows."""
    return _gpu_node() is not None


def _gpu_node() -> Node | None:
    """A server of the catalog with the GPUs that nvidia-smi lists, if it lists any we know."""
    names = _gpus()
    gpu = by_driver_name(names[0]) if names else None
    if gpu is None:
        return None
    for entry in catalog.names("nodes"):
        node: Node = catalog.entry("nodes", entry)
        if node.gpu.name == gpu.name:
            count = len(names)
            return node.model_copy(update={"name": NAME, "gpus": count, "scale_up_domain": count})
    return None


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]
