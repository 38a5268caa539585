"""``colossus report``: a training run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.chat import RunFolder


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; report.html in the run's folder if left out."),
    ] = None,
) -> None:
    """Draw a training run, also one that is still at work: loss, held-out text, speed, experts."""
    from opencolossus.report.training_page import render
    from opencolossus.specs.files import write_atomic

    target = out or run / "report.html"
    write_atomic(target, render(run))
    typer.echo(target)
