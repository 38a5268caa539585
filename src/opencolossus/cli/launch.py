"""``colossus launch``: the same training command on many nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.common import Sets, SpecPath, load

SLURM, KUBERNETES = "For Slurm", "For Kubernetes"

TrainOptions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- OPTION...]", help="Further options of colossus train.", show_default=False
    ),
]
Slurm = Annotated[bool, typer.Option("--slurm", help="Write a batch script for Slurm.")]
Kubernetes = Annotated[bool, typer.Option("--kubernetes", help="Write a JobSet for Kubernetes.")]
Trainjob = Annotated[bool, typer.Option("--trainjob", help="Write a TrainJob of Kubeflow.")]
Nodes = Annotated[
    int | None,
    typer.Option("--nodes", "-n", min=1, help="Nodes; as many as the plan takes if left out."),
]
GpusPerNode = Annotated[
    int | None, typer.Option(min=0, help="As the cluster has it if left out; 0 for none.")
]
OfPool = Annotated[str | None, typer.Option("--pool", help="Of a cluster with several: which.")]
Hosts = Annotated[
    str | None, typer.Option(help="Names of the nodes, with commas, for plain torchrun.")
]
Out = Annotated[
    str | None,
    typer.Option("--out", "-o", help="Folder of the run, as the nodes see it; runs/NAME."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Time = Annotated[
    str | None, typer.Option("--time", help="Time limit of the job, for example '24 h'.")
]
Grace = Annotated[str, typer.Option(help="Time to save in when the job is to end.")]
Restarts = Annotated[
    int, typer.Option(min=0, help="Of failed processes; in a JobSet of all its pods too.")
]
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="What to write; launch.sbatch beside the run, or NAME.yaml."),
]
Print = Annotated[bool, typer.Option("--print", help="Print it, and write nothing.")]

Submit = Annotated[bool, typer.Option("--submit", help="Submit it too.", rich_help_panel=SLURM)]
Sbatch = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE",
        help="An option of sbatch, ours or new: partition=h100, gres=gpu:h100:8, segment=16, "
        "switches=2@30:00. Repeatable.",
        rich_help_panel=SLURM,
    ),
]
Setup = Annotated[
    list[str],
    typer.Option(help="A line of shell to begin with. Repeatable.", rich_help_panel=SLURM),
]
PythonPath = Annotated[
    str,
    typer.Option(
        "--python",
        help="Python on the nodes; the one that runs this if left out.",
        show_default=False,
        rich_help_panel=SLURM,
    ),
]
Image = Annotated[
    str | None,
    typer.Option(help="Container image with this package.", rich_help_panel=KUBERNETES),
]
Claim = Annotated[
    str | None,
    typer.Option(help="Volume claim that holds /runs.", rich_help_panel=KUBERNETES),
]
Queue = Annotated[str | None, typer.Option(help="Of Kueue.", rich_help_panel=KUBERNETES)]
Topology = Annotated[
    str | None,
    typer.Option(help="Node label that all pods must share.", rich_help_panel=KUBERNETES),
]
Resource = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE",
        help="A further resource of each pod: rdma/hca=1. Repeatable.",
        rich_help_panel=KUBERNETES,
    ),
]


def launch(
    spec: SpecPath,
    train_options: TrainOptions = None,
    slurm: Slurm = False,
    kubernetes: Kubernetes = False,
    trainjob: Trainjob = False,
    nodes: Nodes = None,
    gpus_per_node: GpusPerNode = None,
    pool: OfPool = None,
    hosts: Hosts = None,
    out: Out = None,
    resume: Resume = False,
    time: Time = None,
    grace: Grace = "5 min",
    restarts: Restarts = 3,
    file: File = None,
    print_it: Print = False,
    sets: Sets = [],  # noqa: B006 - Typer needs the default of a repeatable option as it is
    submit: Submit = False,
    sbatch: Sbatch = [],  # noqa: B006
    setup: Setup = [],  # noqa: B006
    python: PythonPath = sys.executable,
    image: Image = None,
    claim: Claim = None,
    queue: Queue = None,
    topology: Topology = None,
    resource: Resource = [],  # noqa: B006
) -> None:
    """Start a run on many nodes: write what Slurm or Kubernetes takes, or print the commands.

    Slurm: a batch script that queues itself again when a node dies or the time is used up.
    Kubernetes: a manifest for kubectl apply. Neither: torchrun's command for each node.
    """
    from opencolossus.train.launch import ask, torchrun
    from opencolossus.train.launch import kubernetes as k8s
    from opencolossus.train.launch import slurm as batch

    manager = ask.manager(slurm=slurm, kubernetes=kubernetes, trainjob=trainjob, submit=submit)
    layout = _asked_layout(spec, train_options or [])
    description = load(spec, sets).description
    machines = ask.machines(description, nodes, gpus_per_node, pool, hosts)
    ask.check_layout(description, machines, layout)
    job = ask.job(
        description,
        machines,
        spec=spec,
        sets=sets,
        options=train_options or [],
        folder=out,
        resume=resume,
        manager=manager,
        time=time,
        grace=grace,
        restarts=restarts,
    )
    if manager == "torchrun":
        typer.echo(torchrun.commands(job, ask.names(hosts)), nl=False)
        return
    if manager == "slurm":
        text = batch.script(
            job,
            batch.Options(python, str(Path.cwd()), machines.segment, tuple(sbatch), tuple(setup)),
        )
        target = file or Path(job.folder) / "launch.sbatch"
    else:
        options = k8s.Options(
            image=ask.needed("image", image, "registry/colossus:1"),
            claim=ask.needed("claim", claim, "runs"),
            description=spec.read_text(),
            queue=queue,
            topology=topology,
            resources=ask.pairs("resource", resource),
        )
        make = k8s.trainjob if manager == "trainjob" else k8s.jobset
        text, target = k8s.to_yaml(make(job, options)), file or Path(f"{job.label}.yaml")
    if print_it and not submit:
        typer.echo(text, nl=False)
        return
    ask.write(target, text, job, manager)
    typer.echo(batch.submit(target) if submit else target)


def _asked_layout(spec: Path, options: list[str]) -> str | None:
    """What --layout says, once ``colossus train`` has read what it will be given.

    So a misspelt option is found now, and not when the job has waited in a queue.
    """
    from opencolossus.cli import app

    command = typer.main.get_command(app)
    train = command.get_command(None, "train")  # type: ignore[attr-defined]
    layout = train.make_context("colossus train", [str(spec), *options]).params.get("layout")
    return None if layout is None else str(layout)
