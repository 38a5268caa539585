"""What ``colossus train`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder of the run; runs/NAME if left out."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest sound checkpoint.")]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Processes on this machine; one for each GPU if left out. torchrun starts more.",
    ),
]
LayoutText = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="How to spread the work over processes: tp, cp, pp, vs, ep, mb, zero, shard, "
        "recompute; for example tp=2,pp=2. The planner's choice if left out.",
    ),
]
Patience = Annotated[
    float,
    typer.Option("--patience", min=1.0, help="Seconds after which a silent process is given up."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", help="Serve Prometheus metrics here.", min=1, max=65535),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write for TensorBoard too, into RUN/tensorboard.")
]
