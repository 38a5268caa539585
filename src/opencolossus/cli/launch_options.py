"""What ``colossus launch`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

Submit = Annotated[bool, typer.Option("--submit", help="Slurm: submit the script too.")]
Sbatch = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE",
        help="Slurm: an option of sbatch, ours or new: partition=h100, gres=gpu:h100:8, "
        "segment=16, switches=2@30:00. Repeatable.",
    ),
]
Setup = Annotated[
    list[str],
    typer.Option(metavar="LINE", help="Slurm: a line of shell to begin with. Repeatable."),
]
PythonPath = Annotated[
    str,
    typer.Option(
        "--python",
        metavar="PATH",
        help="Slurm: Python on the nodes; the one that runs this if left out.",
        show_default=False,
    ),
]

Image = Annotated[str | None, typer.Option(help="Kubernetes: container image with this package.")]
Claim = Annotated[str | None, typer.Option(help="Kubernetes: volume claim that holds /runs.")]
Queue = Annotated[str | None, typer.Option(help="Kubernetes: queue of Kueue.")]
Topology = Annotated[
    str | None, typer.Option(help="Kubernetes: node label that all pods must share.")
]
Resource = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE",
        help="Kubernetes: a further resource of each pod: rdma/hca=1. Repeatable.",
    ),
]
