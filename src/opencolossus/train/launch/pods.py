"""The pod of one node: its container, what it sees, and what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from opencolossus.train.launch.job import PORT, Job

RUNS = PurePosixPath("/runs")
"""Where the pods see the volume of the runs."""
SPEC = PurePosixPath("/etc/colossus/description.yaml")
"""Where they see the description."""
JOIN = 1800
"""Seconds that a pod waits for the others, whose images may still be on their way."""
RESTARTED = "JOBSET_RESTART_ATTEMPT"
"""Variable that tells the trainer to go on with the run that its folder holds."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What a cluster wants to know."""

    image: str
    """With Python and this package."""
    claim: str
    """A PersistentVolumeClaim that all nodes may write (ReadWriteMany), seen at ``/runs``."""
    description: str
    """YAML text."""
    namespace: str | None = None
    queue: str | None = None
    """Of Kueue."""
    topology: str | None = None
    """Node label within one value of which all pods must lie (a rack, a block)."""
    resources: Mapping[str, str] = field(default_factory=dict)
    """Further resources of each pod: rdma/hca: 1."""
    runtime: str = "torch-distributed"
    """ClusterTrainingRuntime of a TrainJob."""


def container(job: Job, options: Options) -> Manifest:
    """What runs in the pod: torchrun, which meets the others at the first of them."""
    first = f"{job.label}-node-0-0.{job.label}:{PORT}"
    conf = f"is_host=$((JOB_COMPLETION_INDEX == 0)),join_timeout={JOIN}"
    command = (
        f"exec torchrun --nnodes={job.nodes} --nproc-per-node={job.processes} "
        f"--max-restarts={job.restarts} --rdzv-backend=c10d --rdzv-endpoint={first} "
        f'--rdzv-id="{job.label}-${RESTARTED}" --rdzv-conf="{conf}" -m opencolossus "$@"'
    )
    return {
        "name": "node",
        "image": options.image,
        "command": ["/bin/sh", "-c", command, "node"],
        "args": list(job.train),
        "env": environment(job),
        "ports": [{"containerPort": PORT, "name": "rendezvous", "protocol": "TCP"}],
        "resources": resources(job, options),
        "volumeMounts": mounts(),
    }


def environment(job: Job) -> list[Manifest]:
    """Variables of each pod; the restarts are counted by a label that JobSet puts on it."""
    label = "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"
    found: list[Manifest] = [
        {"name": RESTARTED, "valueFrom": {"fieldRef": {"fieldPath": label}}},
        # torchrun kills its processes 30 s after it was asked to end: too soon for a checkpoint.
        {"name": "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "value": f"{job.grace:.0f}"},
    ]
    if job.gpus:
        found.append({"name": "NCCL_DEBUG", "value": "WARN"})
    return found


def resources(job: Job, options: Options) -> Manifest:
    """GPUs of the node and what else was asked for; nothing where neither is."""
    wanted = {"nvidia.com/gpu": str(job.gpus)} if job.gpus else {}
    wanted |= options.resources
    return {"requests": dict(wanted), "limits": dict(wanted)} if wanted else {}


def volumes(job: Job, options: Options) -> list[Manifest]:
    """Where runs are kept, the description, and memory to share."""
    return [
        {"name": "runs", "persistentVolumeClaim": {"claimName": options.claim}},
        {"name": "description", "configMap": {"name": job.label}},
        # NCCL and data loaders share memory; a pod has 64 MiB of it unless told otherwise.
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
    ]


def mounts() -> list[Manifest]:
    """Where the container sees the volumes."""
    return [
        {"name": "runs", "mountPath": str(RUNS)},
        {"name": "description", "mountPath": str(SPEC.parent), "readOnly": True},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
