"""``colossus plan``: the best way to do a run, in a second."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from opencolossus.cli.common import AsJson, Sets, SpecPath, console, load
from opencolossus.cli.plan_options import (
    CalibrationFile,
    Day,
    Everything,
    Gpus,
    Launch,
    Network,
    Page,
    PowerLimit,
    Schedules,
    SoftwareName,
)

if TYPE_CHECKING:
    from opencolossus.plan.facts import Facts
    from opencolossus.plan.plan import Plan
    from opencolossus.specs.document import Description
    from opencolossus.specs.load import Loaded


def plan(
    spec: SpecPath,
    day: Day = None,
    power: PowerLimit = None,
    gpus: Gpus = None,
    software: SoftwareName = None,
    schedules: Schedules = "1f1b",
    calibration: CalibrationFile = None,
    html: Page = None,
    launch: Launch = None,
    network: Network = False,
    everything: Everything = False,
    as_json: AsJson = False,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Plan SPEC: how many GPUs, at what power cap, in which layout, how fast, by when."""
    from opencolossus.plan.options import parse_day, parse_power, parse_schedules, read_calibration
    from opencolossus.plan.search import search

    loaded = load(spec, sets)
    if network:
        _network(loaded, as_json)
        return
    found = search(
        loaded.description,
        day=parse_day(day),
        power_limit=parse_power(power),
        gpus=gpus,
        software=software,
        calibration=read_calibration(calibration),
        schedules=parse_schedules(schedules),
        facts=loaded.facts,
        found=_at_hand(loaded.description),
    )
    if html is not None:
        _write(html, found)
    if launch is not None:
        from opencolossus.plan.launch import arguments

        typer.echo(arguments(found, loaded.description, launch, spec))
    else:
        _show(found, everything, as_json, html)


def _at_hand(description: Description) -> Facts | None:
    """What this machine reaches, where it is the one to plan for: measured once, if PyTorch is
    there to measure with."""
    from opencolossus.plan import facts, here

    if description.cluster is not None or here.has_gpus():
        return None
    known = facts.remembered()
    if known is not None or find_spec("torch") is None:
        return known
    from opencolossus.train import probe

    return probe.found()


def _write(page: Path, found: Plan) -> None:
    from opencolossus.report.plan_page import render
    from opencolossus.specs.files import write_atomic

    write_atomic(page, render(found))


def _show(found: Plan, everything: bool, as_json: bool, page: Path | None) -> None:
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    from opencolossus.report.plan_table import show_plan

    show_plan(console(), found, everything)
    if page is not None:
        console().print(f"Page: {page}")


def _network(loaded: Loaded, as_json: bool) -> None:
    from opencolossus.plan.network import report
    from opencolossus.report.network_table import show_network

    found = report(loaded.description.cluster)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show_network(console(), found)
