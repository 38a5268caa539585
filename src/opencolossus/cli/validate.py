"""``colossus validate``: the law against published measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.common import AsJson, console


def validate(
    table: Annotated[
        Path | None,
        typer.Option(
            help="A table of measurements; the shipped one if left out.", show_default=False
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Constants from 'colossus calibrate'.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without refitting for each source left out.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write accuracy.md and accuracy.svg into, for example docs.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Price every usable row of a table and print errors by source, GPU, precision and model.

    Also refits the constants without each source and predicts it (leave-one-source-out), unless
    --quick is given or the table is another one than the shipped.
    """
    from opencolossus.plan import checks
    from opencolossus.report import plan_accuracy, plan_accuracy_page, plan_scatter

    err = console(stderr=True)
    found = checks.validate(
        table, calibration, quick, lambda name: err.print(f"without {name[:70]}", style="dim")
    )
    memory = checks.memory(found[1]) if table is None else None
    unseen = checks.unseen(found[1]) if table is None else None
    findings = plan_accuracy.Findings(*found, memory, unseen)
    if write is not None:
        from opencolossus.specs.files import write_atomic

        write_atomic(write / "accuracy.svg", plan_scatter.scatter(findings))
        write_atomic(write / "accuracy.md", plan_accuracy_page.markdown(findings, "accuracy.svg"))
    if as_json:
        typer.echo(plan_accuracy.as_json(findings))
    else:
        plan_accuracy.show(console(), findings)
