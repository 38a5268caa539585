"""``colossus train``: train what a description says, on the machine at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from opencolossus.cli.common import Sets, SpecPath, extra, load
from opencolossus.cli.train_options import (
    LayoutText,
    MetricsPort,
    Out,
    Patience,
    Processes,
    Resume,
    TensorBoard,
)
from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from opencolossus.specs.document import Description
    from opencolossus.train.result import Result


def train(
    spec: SpecPath,
    sets: Sets = [],  # noqa: B006 - Typer needs the default of a repeatable option as it is
    out: Out = None,
    resume: Resume = False,
    processes: Processes = None,
    layout: LayoutText = None,
    patience: Patience = 600.0,
    metrics_port: MetricsPort = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Train the model of a description on its data, and say how far the prediction was off.

    The run's folder gets the tokenizer, checkpoints, log.jsonl and result.json. Ctrl-C or SIGTERM
    saves and ends; --resume goes on exactly there.
    """
    description = load(spec, sets).description
    # Read when torch loads its OpenMP: threads that spin while they wait make a machine that
    # others use too ten times slower, and a quiet one no faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Where a process died, the others tell of it in a sentence, not in pages of PyTorch's stack.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with extra("train"):
        from opencolossus.train import processes as several
        from opencolossus.train import world
        from opencolossus.train.opening import Listeners

    if (count := several.wanted(processes)) > 1:
        raise typer.Exit(several.start(count, sys.argv[1:]))
    folder = out or Path("runs") / description.run_folder
    listeners = Listeners(metrics_port, tensorboard)
    options = {"resume": resume, "layout": layout, "listeners": listeners, "patience": patience}
    found = _said_once(description, folder, options)
    if world.is_first():
        typer.echo(folder)
    if not found.finished:
        raise typer.Exit(130 if found.reason == "SIGINT" else 143)


def _said_once(description: Description, folder: Path, options: dict[str, Any]) -> Result:
    """Run; of what goes wrong at all processes, the first one speaks, or the first that is left."""
    from opencolossus.train import world
    from opencolossus.train.console import progress_on
    from opencolossus.train.run import train as run
    from opencolossus.train.silent import LostError

    try:
        return run(description, folder, progress_on(sys.stderr), **options)
    except LostError as lost:
        if lost.speaks:
            raise
        raise typer.Exit(2) from None
    except UserError:
        if world.is_first():
            raise
        raise typer.Exit(2) from None
