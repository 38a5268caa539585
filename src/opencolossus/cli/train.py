"""``colossus train``: train what a description says, on the machine at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.common import Sets, SpecPath, load
from opencolossus.specs.errors import UserError


def train(
    spec: SpecPath,
    sets: Sets = [],  # noqa: B006 - Typer needs the default of a repeatable option as it is
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the run; runs/NAME if left out."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest sound checkpoint.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="Processes on this machine; one for each GPU if left out. torchrun starts more.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            help="How to spread the work over processes: tp, cp, pp, vs, ep, mb, zero, shard, "
            "recompute; for example tp=2,pp=2. The planner's choice if left out.",
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience", min=1.0, help="Seconds after which a silent process is given up."
        ),
    ] = 600.0,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", help="Serve Prometheus metrics here.", min=1, max=65535),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write for TensorBoard too, into RUN/tensorboard.")
    ] = False,
) -> None:
    """Train the model of a description on its data, and say how far the prediction was off.

    The run's folder gets the tokenizer, checkpoints, log.jsonl and result.json. Ctrl-C or SIGTERM
    saves and ends; --resume goes on exactly there.
    """
    # Read when torch loads its OpenMP: threads that spin while they wait make a machine that
    # others use too ten times slower, and a quiet one no faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from opencolossus.train import processes as several
    from opencolossus.train import world
    from opencolossus.train.console import progress_on
    from opencolossus.train.opening import Listeners
    from opencolossus.train.run import train as run

    description = load(spec, sets).description
    if (count := several.wanted(processes)) > 1:
        raise typer.Exit(several.start(count, sys.argv[1:]))
    folder = out or Path("runs") / description.run_folder
    try:
        found = run(
            description,
            folder,
            progress_on(sys.stderr),
            resume=resume,
            layout=layout,
            listeners=Listeners(metrics_port, tensorboard),
            patience=patience,
        )
    except UserError:
        if world.is_first():
            raise
        raise typer.Exit(2) from None  # the first process says it for all
    if world.is_first():
        typer.echo(folder)
    if not found.finished:
        raise typer.Exit(130 if found.reason == "SIGINT" else 143)
