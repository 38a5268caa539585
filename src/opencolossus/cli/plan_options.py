"""What ``colossus plan`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.completion import entries, targets

Day = Annotated[
    str | None,
    typer.Option(
        help="Day whose power and deliveries count, for example 2024-09-15; the run's start "
        "if left out.",
        show_default=False,
    ),
]
PowerLimit = Annotated[
    str | None,
    typer.Option(
        help="Power at the site's entry, for example '43 MW', instead of its sources.",
        show_default=False,
    ),
]
Gpus = Annotated[
    int | None, typer.Option(min=1, help="Use at most this many GPUs.", show_default=False)
]
SoftwareName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Training software ('colossus catalog software'); by year and GPU if left out.",
        show_default=False,
        autocompletion=entries("software"),
    ),
]
Schedules = Annotated[
    str, typer.Option(help="Pipeline schedules to try: 1f1b, zb-h1, zb-h2, dualpipe, or all.")
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(help="Constants from 'colossus calibrate'.", show_default=False),
]
Page = Annotated[
    Path | None, typer.Option(help="Also write a page with plots.", show_default=False)
]
Launch = Annotated[
    str | None,
    typer.Option(
        metavar="TRAINER",
        help="Print the arguments for megatron, torchtitan or colossus instead.",
        show_default=False,
        autocompletion=targets,
    ),
]
Network = Annotated[
    bool,
    typer.Option(
        "--network",
        help="Print what the cluster's network gives to collectives instead, by place and routing.",
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="Print every assumption and alternative.")]
