"""``colossus simulate``: a site played against its calendar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencolossus.cli.common import AsJson, Sets, SpecPath, console, load
from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from opencolossus.twin.record import Record


def simulate(
    spec: SpecPath,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the record and the page; out/NAME of the file if left out.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of the dice; the calendar's if left out.", show_default=False
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Play this many seeds and give the spread.")] = 1,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Play the seeds on a cluster: dask://host:8786 or ray://host:10001.",
            show_default=False,
        ),
    ] = None,
    least_cost: Annotated[
        bool,
        typer.Option(
            "--least-cost",
            help="Dispatch by linear programming over all hours: batteries trade, permits save.",
        ),
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: AsJson = False,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Play SPEC day by day: supply, deliveries, heat, failures, tokens, dollars.

    Writes the record (Parquet), a summary and a page (index.html) into one folder, all or none.
    """
    if on is not None and runs == 1:
        raise UserError(f"--on {on} plays several seeds; give --runs 2 or more")
    from opencolossus.report import page, simulation_page, simulation_terminal

    page.plotly()  # what is missing should be told before hours of playing
    with console(stderr=True).status("planning and playing"):
        record = _play(spec, sets, seed, runs, on, least_cost)
    folder = out or Path("out") / spec.stem
    record.write(folder, {"index.html": simulation_page.render(record)})
    if as_json:
        typer.echo(record.summary_json())
    else:
        simulation_terminal.show(console(), record)
        console().print(f"\nRecord and page: {folder / 'index.html'}")
    if open_page:
        typer.launch(str(folder / "index.html"))


def _play(
    spec: Path, sets: list[str], seed: int | None, runs: int, on: str | None, least_cost: bool
) -> Record:
    from opencolossus.twin.executors import executor
    from opencolossus.twin.planner import Searched
    from opencolossus.twin.runs import many
    from opencolossus.twin.simulate import simulate as play

    loaded = load(spec, sets)
    planner = Searched(loaded.facts)
    if runs == 1:
        return play(loaded.description, seed=seed, planner=planner, cheapest=least_cost)
    return many(
        loaded.description,
        runs,
        seed=seed,
        executor=executor(on) if on else None,
        planner=planner,
        cheapest=least_cost,
    )
