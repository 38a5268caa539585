"""``colossus launch``: the same training command on many nodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from opencolossus.cli import launch_options as option
from opencolossus.cli.common import Sets, SpecPath, load

if TYPE_CHECKING:
    from opencolossus.train.launch.job import Job


def launch(
    spec: SpecPath,
    train_options: option.TrainOptions = None,
    slurm: option.Slurm = False,
    kubernetes: option.Kubernetes = False,
    trainjob: option.Trainjob = False,
    nodes: option.Nodes = None,
    gpus_per_node: option.GpusPerNode = None,
    pool: option.OfPool = None,
    hosts: option.Hosts = None,
    out: option.Out = None,
    resume: option.Resume = False,
    time: option.Time = None,
    grace: option.Grace = "5 min",
    restarts: option.Restarts = 3,
    file: option.File = None,
    print_it: option.Print = False,
    sets: Sets = [],  # noqa: B006 - Typer needs the default of a repeatable option as it is
    submit: option.Submit = False,
    sbatch: option.Sbatch = [],  # noqa: B006
    setup: option.Setup = [],  # noqa: B006
    python: option.PythonPath = sys.executable,
    image: option.Image = None,
    claim: option.Claim = None,
    queue: option.Queue = None,
    topology: option.Topology = None,
    resource: option.Resource = [],  # noqa: B006
) -> None:
    """Start a run on many nodes: write what Slurm or Kubernetes takes, or print the commands.

    Slurm: a batch script that queues itself again when a node dies or the time is used up.
    Kubernetes: a manifest for kubectl apply. Neither: torchrun's command for each node.
    """
    from opencolossus.train.launch import ask, torchrun
    from opencolossus.train.launch.slurm import submit as hand_in

    manager = ask.manager(slurm=slurm, kubernetes=kubernetes, trainjob=trainjob, submit=submit)
    words = tuple(train_options or ())
    layout = _asked_layout(spec, words)
    description = load(spec, sets).description
    machines = ask.machines(description, nodes, gpus_per_node, pool, hosts)
    ask.check_layout(description, machines, layout)
    asked = ask.Asked(spec, tuple(sets), words, out, resume, time, grace, restarts)
    job = ask.job(description, machines, manager, asked)
    if manager == "torchrun":
        typer.echo(torchrun.commands(job, ask.names(hosts)), nl=False)
        return
    if manager == "slurm":
        text = _script(job, machines.segment, python, sbatch, setup)
        target = file or Path(job.folder) / "launch.sbatch"
    else:
        text = _manifest(job, spec, trainjob, image, claim, queue, topology, resource)
        target = file or Path(f"{job.label}.yaml")
    if print_it and not submit:
        typer.echo(text, nl=False)
        return
    ask.write(target, text, job, manager)
    typer.echo(hand_in(target) if submit else target)


def _script(
    job: Job, segment: int | None, python: str, sbatch: Sequence[str], setup: Sequence[str]
) -> str:
    """For Slurm."""
    from opencolossus.train.launch.slurm import Options, script

    here = str(Path.cwd())
    return script(job, Options(python, here, segment, tuple(sbatch), tuple(setup)))


def _manifest(
    job: Job,
    spec: Path,
    trainjob: bool,
    image: str | None,
    claim: str | None,
    queue: str | None,
    topology: str | None,
    resource: Sequence[str],
) -> str:
    """For Kubernetes."""
    from opencolossus.train.launch import ask, kubernetes
    from opencolossus.train.launch.pods import Options

    options = Options(
        image=ask.needed("image", image, "registry/colossus:1"),
        claim=ask.needed("claim", claim, "runs"),
        description=spec.read_text(),
        queue=queue,
        topology=topology,
        resources=ask.pairs("resource", resource),
    )
    make = kubernetes.trainjob if trainjob else kubernetes.jobset
    return kubernetes.to_yaml(make(job, options))


def _asked_layout(spec: Path, options: Sequence[str]) -> str | None:
    """What --layout says, once ``colossus train`` has read what it will be given.

    So a misspelt option is found now, and not when the job has waited in a queue.
    """
    from opencolossus.cli import app

    command = typer.main.get_command(app)
    train = command.get_command(None, "train")  # type: ignore[attr-defined]
    layout = train.make_context("colossus train", [str(spec), *options]).params.get("layout")
    return None if layout is None else str(layout)
