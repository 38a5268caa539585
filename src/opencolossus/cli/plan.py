"""``colossus plan``: the best way to do a run, in a second."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencolossus.cli.common import AsJson, Sets, SpecPath, console, load

if TYPE_CHECKING:
    from opencolossus.specs.load import Loaded


def plan(
    spec: SpecPath,
    day: Annotated[
        str | None,
        typer.Option(
            help="Day whose power and deliveries count, for example 2024-09-15; the run's start "
            "if left out.",
            show_default=False,
        ),
    ] = None,
    power: Annotated[
        str | None,
        typer.Option(
            help="Power at the site's entry, for example '43 MW', instead of its sources.",
            show_default=False,
        ),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many GPUs.", show_default=False)
    ] = None,
    software: Annotated[
        str | None,
        typer.Option(
            help="Training software ('colossus catalog software'); by the year if left out.",
            show_default=False,
        ),
    ] = None,
    schedules: Annotated[
        str, typer.Option(help="Pipeline schedules to try: 1f1b, zb-h1, zb-h2, dualpipe, or all.")
    ] = "1f1b",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Constants from 'colossus calibrate'.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with plots.", show_default=False)
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(
            help="Print the arguments for megatron, torchtitan or colossus instead.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        bool,
        typer.Option(
            "--network",
            help="Print what the cluster's network gives to collectives instead, by place and "
            "routing.",
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every assumption and alternative.")
    ] = False,
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
    when: date | None = parse_day(day)
    found = search(
        loaded.description,
        day=when,
        power_limit=parse_power(power),
        gpus=gpus,
        software=software,
        calibration=read_calibration(calibration),
        schedules=parse_schedules(schedules),
        facts=loaded.facts,
    )
    if html is not None:
        from opencolossus.report.plan_page import render
        from opencolossus.specs.files import write_atomic

        write_atomic(html, render(found))
    if launch is not None:
        from opencolossus.plan.launch import arguments

        typer.echo(arguments(found, loaded.description, launch, spec))
    elif as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        from opencolossus.report.plan_table import show_plan

        show_plan(console(), found, everything)
        if html is not None:
            console().print(f"Page: {html}")


def _network(loaded: Loaded, as_json: bool) -> None:
    from opencolossus.plan.network import report
    from opencolossus.report.network_table import show_network

    found = report(loaded.description.cluster)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show_network(console(), found)
