"""Manifests against the typed schemas of Kubernetes, JobSet and Kubeflow Trainer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet, TrainerV1alpha1TrainJob

from opencolossus.specs.errors import UserError
from opencolossus.train.launch import kubernetes
from opencolossus.train.launch.job import Job
from opencolossus.train.launch.pods import Options

TRAIN = ("train", "/etc/colossus/description.yaml", "--out", "/runs/grok 3")
JOB = Job("Grok 3!", nodes=4, gpus=8, train=TRAIN, folder="/runs/grok 3", time_limit=3600.0)
OPTIONS = Options(
    image="registry/colossus:1",
    claim="runs",
    description="# two\nname: lines\n",
    queue="research",
    topology="rack",
    resources={"rdma/hca": "8"},
)


def pods(jobset: dict) -> dict:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def container(jobset: dict) -> dict:
    return pods(jobset)["template"]["spec"]["containers"][0]


def read(text: str, model: type) -> dict:
    """The second of two manifests; a field that the schema does not know would be dropped here."""
    config, manifest = yaml.safe_load_all(text)
    assert (config["apiVersion"], config["kind"]) == ("v1", "ConfigMap")
    assert config["data"]["description.yaml"] == OPTIONS.description
    assert model.from_dict(manifest).to_dict() == manifest
    return manifest


@settings(deadline=None, max_examples=50)
@given(
    nodes=st.integers(1, 20_000),
    gpus=st.integers(0, 16),
    name=st.text(max_size=80),
    grace=st.floats(1, 1e5),
    limit=st.none() | st.floats(400, 1e7),
    queue=st.none() | st.just("q"),
)
def test_every_job_is_a_jobset_and_a_trainjob(nodes, gpus, name, grace, limit, queue):
    job = Job(name, nodes, gpus, TRAIN, "/runs/x", grace=grace, time_limit=limit)
    options = Options("image", "runs", OPTIONS.description, queue=queue)
    found = read(kubernetes.to_yaml(kubernetes.jobset(job, options)), JobsetV1alpha2JobSet)
    assert pods(found)["completions"] == pods(found)["parallelism"] == nodes
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", found["metadata"]["name"])
    read(kubernetes.to_yaml(kubernetes.trainjob(job, options)), TrainerV1alpha1TrainJob)


def test_the_pods_are_a_job_that_kubernetes_knows():
    """By the schemas of Kubernetes itself, which are too large to be installed with the others."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate, 108 MB of schemas"
    ).validate
    config, jobset = kubernetes.jobset(JOB, OPTIONS)
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": pods(jobset)}
    validate(config, "1.31", strict=True)
    validate(job, "1.31", strict=True)
    job["spec"]["backoffLimitt"] = 0
    with pytest.raises(Exception, match="backoffLimitt"):
        validate(job, "1.31", strict=True)


def test_the_schema_notices_a_misspelt_field():
    _, found = kubernetes.jobset(JOB, OPTIONS)
    container(found)["volumeMount"] = []
    assert JobsetV1alpha2JobSet.from_dict(found).to_dict() != found


@pytest.mark.parametrize("index", [0, 3])
def test_a_pod_runs_torchrun_with_the_words_as_they_are(tmp_path, index):
    """The pod's command in a real shell, with a torchrun that prints what it was given."""
    _, found = kubernetes.jobset(JOB, OPTIONS)
    fake = tmp_path / "torchrun"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    fake.chmod(0o755)
    pod = container(found)
    env = {"PATH": f"{tmp_path}:/bin:/usr/bin", "JOBSET_RESTART_ATTEMPT": "2"}
    words = subprocess.run(
        [*pod["command"], *pod["args"]],
        env={**env, "JOB_COMPLETION_INDEX": str(index)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert words[-4:] == list(TRAIN)
    assert {"--nnodes=4", "--nproc-per-node=8", "--rdzv-id=grok-3-2"} <= set(words)
    assert f"--rdzv-conf=is_host={int(index == 0)},join_timeout=1800" in words
    # The name that JobSet's own service gives to the first pod.
    assert "--rdzv-endpoint=grok-3-node-0-0.grok-3:29400" in words


def test_pods_that_fail_all_start_anew_and_lost_nodes_do_not_count():
    _, found = kubernetes.jobset(JOB, OPTIONS)
    policy = found["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == JOB.restarts
    assert policy["rules"][0]["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert pods(found)["backoffLimit"] == 0
    assert pods(found)["template"]["spec"]["restartPolicy"] == "Never"
    assert pods(found)["template"]["spec"]["terminationGracePeriodSeconds"] == 300
    assert pods(found)["activeDeadlineSeconds"] == 3600
    assert found["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "research"}


def test_every_volume_is_there_and_the_run_lies_on_the_claim():
    _, found = kubernetes.jobset(JOB, OPTIONS)
    volumes = {each["name"]: each for each in pods(found)["template"]["spec"]["volumes"]}
    mounts = {each["name"]: each["mountPath"] for each in container(found)["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == "runs"
    assert JOB.folder.startswith(mounts["runs"] + "/")
    spec = Path(TRAIN[1])
    assert mounts["description"] == str(spec.parent)
    config, _ = kubernetes.jobset(JOB, OPTIONS)
    assert volumes["description"]["configMap"]["name"] == config["metadata"]["name"]
    assert spec.name in config["data"]


def test_gpus_and_further_resources_are_asked_for():
    _, found = kubernetes.jobset(JOB, OPTIONS)
    wanted = {"nvidia.com/gpu": "8", "rdma/hca": "8"}
    assert container(found)["resources"] == {"requests": wanted, "limits": wanted}
    _, found = kubernetes.trainjob(JOB, OPTIONS)
    assert found["spec"]["trainer"]["resourcesPerNode"]["limits"] == wanted
    assert found["spec"]["trainer"]["numNodes"] == 4


def test_a_description_too_large_for_a_configmap_is_refused():
    options = Options("image", "runs", "#" * (kubernetes.LARGEST + 1))
    with pytest.raises(UserError, match="ConfigMap takes 1048576"):
        kubernetes.jobset(JOB, options)
