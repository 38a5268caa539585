"""``colossus calibrate``: fit the laws' constants to measurements."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.common import console
from opencolossus.cli.completion import entries


class What(StrEnum):
    """What can be calibrated."""

    STEPS = "steps"
    POWER = "power"


def calibrate(
    what: Annotated[
        What, typer.Argument(help="steps: the law of the step time; power: this machine's GPU.")
    ] = What.STEPS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write into: calibration.json, or power.yaml.", show_default=False
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="A table of measurements; the shipped one if left out.", show_default=False
        ),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="A folder of 'colossus train' on a CPU, may be repeated: fit this machine's speed "
            "and the trainer's mode to what it took.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Keep the shipped intervals instead of leaving sources out."),
    ] = False,
    gpu: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="For power: the catalog's name of this machine's GPU.",
            autocompletion=entries("gpus"),
        ),
    ] = "h100-sxm",
    index: Annotated[int, typer.Option(min=0, help="For power: which GPU of the machine.")] = 0,
    seconds: Annotated[float, typer.Option(min=1, help="For power: how long to observe.")] = 120.0,
) -> None:
    """Fit the constants to a table of measurements in the form of validation/throughput.csv.

    Use the file with 'colossus plan --calibration FILE'. It carries the day, the table's
    checksum, the number of rows and the residuals.

    'colossus calibrate power' observes a busy GPU through NVML, at several power limits where the
    user may change them, and writes the power_curve to put below the GPU of a description.
    """
    if what is What.POWER:
        _power(out or Path("power.yaml"), gpu, index, seconds)
    else:
        _steps(out or Path("calibration.json"), table, run, quick)


def _power(out: Path, gpu: str, index: int, seconds: float) -> None:
    from opencolossus.power.calibrate import calibrate as measure
    from opencolossus.power.meter import Nvml
    from opencolossus.specs import catalog
    from opencolossus.specs.files import write_atomic

    found = measure(catalog.entry("gpus", gpu), Nvml(index), seconds)
    write_atomic(out, found.as_yaml())
    console().print(f"{out}: {found.readings} readings, error {found.error:.1f} W")
    if not found.shape:
        console().print(
            "limits could not be changed, so only full_power was measured; voltage_floor and "
            "voltage_knee stay as assumed"
        )


def _steps(out: Path, table: Path | None, run: list[Path] | None, quick: bool) -> None:
    from opencolossus.plan import checks
    from opencolossus.specs import calibration as calibrations

    if run:
        from opencolossus.plan.own_run import from_runs

        calibrations.write(out, from_runs(calibrations.shipped(), run))
        told = str(run[0]) if len(run) == 1 else f"{len(run)} runs"
        console().print(f"{out}: this machine's speed as {told} took it")
        return
    err = console(stderr=True)
    fitted = checks.calibrate(
        table, quick, lambda name: err.print(f"without {name[:70]}", style="dim")
    )
    calibrations.write(out, fitted)
    console().print(
        f"{out}: {fitted.rows} rows of {fitted.sources} sources, median error {fitted.residual:.1%}"
    )
