"""Arguments that several verbs share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from opencolossus.specs.load import Loaded

SpecPath = Annotated[
    Path, typer.Argument(metavar="SPEC", help="The description, a YAML file.", show_default=False)
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a field, for example --set site.power.grid.limit='8 MW'. Repeatable.",
        show_default=False,
    ),
]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="cpu|cuda|cuda:N",
        help="Where to compute; a GPU where there is one, else the CPU. No GPU was tried yet.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load(spec: Path, sets: Sequence[str]) -> Loaded:
    """Read a description, heavy imports only now."""
    from opencolossus.specs.load import load as read

    return read(spec, sets)


def console(stderr: bool = False) -> Console:
    """A terminal to print on; a pipe gets plain text, 100 columns wide unless $COLUMNS says so."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 100
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra is missing where an import of ours fails for want of its packages."""
    from opencolossus.specs.errors import UserError

    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("opencolossus"):
            raise
        raise UserError(
            f"this needs the package {error.name}; install it by pip install 'opencolossus[{name}]'"
        ) from None
