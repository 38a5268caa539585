"""``colossus catalog``: parts, models and places by name, each number with its source."""

from __future__ import annotations

from typing import Annotated

import typer

from opencolossus.cli.common import AsJson, console
from opencolossus.cli.completion import kinds, names_of_kind


def catalog(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="gpus, nodes, models, sites, ...",
            show_default=False,
            autocompletion=kinds,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="One entry: h100-sxm, grok-1, ...",
            show_default=False,
            autocompletion=names_of_kind,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the catalog: its kinds, the entries of a KIND, or one entry with its sources."""
    from opencolossus.report import catalog_table

    if as_json:
        typer.echo(catalog_table.as_json(kind, name))
    else:
        catalog_table.show(console(), kind, name)
