"""``colossus calibrate``: fit the law's constants to measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.common import console


def calibrate(
    out: Annotated[Path, typer.Option(help="File to write the constants into.")] = Path(
        "calibration.json"
    ),
    table: Annotated[
        Path | None,
        typer.Option(
            help="A table of measurements; the shipped one if left out.", show_default=False
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Keep the shipped intervals instead of leaving sources out."),
    ] = False,
) -> None:
    """Fit the constants to a table of measurements in the form of validation/throughput.csv.

    Use the file with 'colossus plan --calibration FILE'. It carries the day, the table's
    checksum, the number of rows and the residuals.
    """
    from opencolossus.plan import checks
    from opencolossus.specs import calibration as calibrations

    err = console(stderr=True)
    fitted = checks.calibrate(
        table, quick, lambda name: err.print(f"without {name[:70]}", style="dim")
    )
    calibrations.write(out, fitted)
    console().print(
        f"{out}: {fitted.rows} rows of {fitted.sources} sources, median error {fitted.residual:.1%}"
    )
