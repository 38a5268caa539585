"""``colossus serve users``: the accounts."""

from __future__ import annotations

from typing import Annotated

import typer

from opencolossus.cli.common import extra
from opencolossus.cli.serve_options import Database

users = typer.Typer(help="The accounts.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@users.command("add")
def add(
    name: Name,
    tier: Annotated[str, typer.Option(help="free, premium or unlimited.")] = "free",
    password: Annotated[
        bool, typer.Option(help="Off: a user with API keys only, who cannot sign in.")
    ] = True,
    database: Database = None,
) -> None:
    """Add a user; asks for the password, or reads it from a pipe."""
    with extra("serve"):
        from opencolossus.serve import manage
    typer.echo(manage.add(_url(database), name, tier, password))


@users.command("list")
def show(database: Database = None) -> None:
    """List all users."""
    from opencolossus.cli.common import console

    with extra("serve"):
        from opencolossus.serve import manage
    manage.show(_url(database), console())


@users.command("change")
def change(
    name: Name,
    tier: Annotated[str | None, typer.Option(help="New tier.", show_default=False)] = None,
    disable: Annotated[
        bool | None,
        typer.Option("--disable/--enable", help="Shut out, or let in again.", show_default=False),
    ] = None,
    password: Annotated[bool, typer.Option("--password", help="Set a new password.")] = False,
    database: Database = None,
) -> None:
    """Change a user."""
    with extra("serve"):
        from opencolossus.serve import manage
    typer.echo(manage.change(_url(database), name, tier, disable, password))


@users.command("key")
def key(
    name: Name,
    key_name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "command line",
    days: Annotated[
        int | None, typer.Option(min=1, help="Until it expires.", show_default=False)
    ] = None,
    database: Database = None,
) -> None:
    """Make an API key and print it; it is shown this once."""
    with extra("serve"):
        from opencolossus.serve import manage
    typer.echo(manage.key(_url(database), name, key_name, days))


@users.command("remove")
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
) -> None:
    """Delete a user with keys, conversations and usage."""
    with extra("serve"):
        from opencolossus.serve import manage
    if not yes:
        typer.confirm(f"Delete {name} and all that is theirs?", abort=True)
    typer.echo(manage.remove(_url(database), name))


@users.command("tiers")
def tiers() -> None:
    """Show what the tiers allow."""
    from opencolossus.cli.common import console

    with extra("serve"):
        from opencolossus.serve import manage
    manage.tiers(console())


def _url(given: str | None) -> str:
    from opencolossus.serve.accounts.database import default_url

    return given or default_url()
