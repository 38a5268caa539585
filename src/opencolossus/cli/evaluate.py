"""``colossus eval``: what a trained run knows, by lm-eval's tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from opencolossus.cli.chat import RunFolder
from opencolossus.cli.common import AsJson, DeviceName, console, extra


def evaluate(
    run: RunFolder,
    tasks: Annotated[
        str,
        typer.Option("--tasks", "-t", help="Tasks of lm-eval, with commas.", show_default=False),
    ],
    include: Annotated[
        Path | None,
        typer.Option("--include", help="Folder with tasks of your own.", show_default=False),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(min=0, help="Examples before each question; as the task says if left out."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of each task.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Texts that are scored together.")] = 16,
    device: DeviceName = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the newest sound checkpoint of a run by the Language Model Evaluation Harness.

    Needs the extra eval (lm-eval), which loads the data of public tasks from the network.
    """
    with extra("eval"):
        from opencolossus.serve.tasks import evaluate as run_tasks

        names = [name.strip() for name in tasks.split(",") if name.strip()]
        found = run_tasks(
            run, names, include=include, shots=shots, limit=limit, batch=batch, device=device
        )
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    console().print(_table(found))


def _table(found: dict[str, dict[str, float]]) -> Any:
    from rich.table import Table

    table = Table("task", "measure", "value", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for task, measures in found.items():
        for name, value in measures.items():
            table.add_row(task, name, f"{value:.4f}")
    return table
