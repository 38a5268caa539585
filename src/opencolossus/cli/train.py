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

SPINS = "3000"
"""Turns of a waiting OpenMP thread before it sleeps, some 0.1 ms. On two cores of a Xeon a step of
8 M weights took 372 ms so, 430 without, 352 with 10,000; beside a process that kept one core busy
786, 704 and 975 ms, and 2,480 with 100,000."""


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
    _wait_briefly()
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


def _wait_briefly() -> None:
    """Let OpenMP's threads spin a tenth of a millisecond for the next piece of work, then sleep.

    Read when torch loads its OpenMP. Threads that sleep at once have to be woken at every piece;
    those that spin for as long as GNU's do by themselves take the cores of everybody else.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


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
