"""A manifest for Kubernetes: the description as a ConfigMap, and a JobSet or a TrainJob.

A JobSet (jobset.x-k8s.io/v1alpha2) brings a headless service of its own, by which the pods find the
first of them, and starts all pods anew when one fails. A TrainJob (trainer.kubeflow.org/v1alpha1)
leaves that to the runtime that the cluster's operators installed.
"""

from __future__ import annotations

import yaml

from opencolossus.specs.errors import UserError
from opencolossus.train.launch.job import Job
from opencolossus.train.launch.pods import (
    SPEC,
    Manifest,
    Options,
    container,
    environment,
    mounts,
    resources,
    volumes,
)

LARGEST = 1 << 20
"""Bytes that a ConfigMap takes."""


def jobset(job: Job, options: Options) -> list[Manifest]:
    """A ConfigMap with the description, and a JobSet that trains it."""
    spec: Manifest = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "failurePolicy": {
            "maxRestarts": job.restarts,
            # A drained or lost node is nobody's fault, and does not use up a restart.
            "rules": [
                {
                    "name": "disrupted",
                    "action": "RestartJobSetAndIgnoreMaxRestarts",
                    "onJobFailureReasons": ["PodFailurePolicy"],
                }
            ],
        },
        "replicatedJobs": [
            {"name": "node", "replicas": 1, "template": {"spec": _pods(job, options)}}
        ],
    }
    metadata = _metadata(job, options)
    if options.topology:
        metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": options.topology}
    manifest = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}
    return [config_map(job, options), {**manifest, "metadata": metadata, "spec": spec}]


def trainjob(job: Job, options: Options) -> list[Manifest]:
    """A ConfigMap with the description, and a TrainJob of Kubeflow Trainer that trains it."""
    patch = {
        "volumes": volumes(job, options),
        "containers": [{"name": "node", "volumeMounts": mounts()}],
        "terminationGracePeriodSeconds": round(job.grace),
    }
    named = [{"name": "node", "template": {"spec": {"template": {"spec": patch}}}}]
    spec: Manifest = {
        "runtimeRef": {"name": options.runtime},
        "trainer": {
            "image": options.image,
            # The runtime tells torchrun by variables (PET_...) how many nodes there are, and where.
            "command": ["torchrun", f"--max-restarts={job.restarts}", "-m", "opencolossus"],
            "args": list(job.train),
            "env": environment(job),
            "numNodes": job.nodes,
            "numProcPerNode": job.processes,
            "resourcesPerNode": resources(job, options),
        },
        "runtimePatches": [
            {
                "manager": "opencolossus/launch",
                "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": named}}},
            }
        ],
    }
    if job.time_limit is not None:
        spec["activeDeadlineSeconds"] = round(job.time_limit)
    manifest = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob"}
    return [
        config_map(job, options),
        {**manifest, "metadata": _metadata(job, options), "spec": spec},
    ]


def config_map(job: Job, options: Options) -> Manifest:
    """The description, where the pods can read it.

    Raises:
        UserError: it is larger than a ConfigMap may be.
    """
    size = len(options.description.encode())
    if size > LARGEST:
        raise UserError(f"the description has {size} bytes; a ConfigMap takes {LARGEST}")
    metadata = _metadata(job, options)
    metadata.pop("labels", None)  # queues are for what runs
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {SPEC.name: options.description},
    }


def to_yaml(manifests: list[Manifest]) -> str:
    """Manifests as one file for ``kubectl apply -f``."""
    text = yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=100)
    return str(text)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _metadata(job: Job, options: Options) -> Manifest:
    metadata: Manifest = {"name": job.label}
    if options.namespace:
        metadata["namespace"] = options.namespace
    if options.queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": options.queue}
    return metadata


def _pods(job: Job, options: Options) -> Manifest:
    """The Job of one pod per node."""
    spec: Manifest = {
        "completionMode": "Indexed",
        "completions": job.nodes,
        "parallelism": job.nodes,
        "backoffLimit": 0,  # one pod alone cannot be started anew: all meet again
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }
            ]
        },
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": round(job.grace),
                "containers": [container(job, options)],
                "volumes": volumes(job, options),
            }
        },
    }
    if job.time_limit is not None:
        spec["activeDeadlineSeconds"] = round(job.time_limit)
    return spec
