"""``colossus serve``: an OpenAI-compatible API and a web page for a trained run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from opencolossus.cli.common import extra

RUN = "run"


class RunByDefault(TyperGroup):
    """``serve FOLDER`` means ``serve run FOLDER``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the command in where the first word is none."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RunByDefault,
    help="Serve a trained run: `colossus serve RUN`.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
users = typer.Typer(help="The accounts.", no_args_is_help=True)
app.add_typer(users, name="users")


class Stored(StrEnum):
    """What an engine keeps weights in."""

    FP32 = "fp32"
    BF16 = "bf16"


class Device(StrEnum):
    """Where an engine can run."""

    CPU = "cpu"
    CUDA = "cuda"


Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="sqlite:///file.db or postgresql://user@host/name; else $COLOSSUS_DATABASE, else a "
        "file in your data folder.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@app.command(RUN)
def run(
    folder: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a training run.", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    database: Database = None,
    accounts: Annotated[
        bool, typer.Option(help="Off: whoever reaches the server is its one user (loopback only).")
    ] = True,
    sign_up: Annotated[
        bool | None,
        typer.Option(
            help="Whether people make accounts themselves; on where only this machine can reach "
            "the server.",
            show_default=False,
        ),
    ] = None,
    tier: Annotated[str, typer.Option(help="Tier of those who sign up.")] = "free",
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Answer by an engine elsewhere (SGLang, vLLM, colossus serve) that has loaded the "
            "same model; its key comes from $COLOSSUS_ENGINE_KEY.",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Answers made together.")] = 32,
    queue: Annotated[
        int, typer.Option(min=0, max=100_000, help="Requests that may wait; more get 429.")
    ] = 256,
    device: Annotated[
        Device, typer.Option(help="Where the engine runs; cuda has not been tried on a GPU yet.")
    ] = Device.CPU,
    dtype: Annotated[
        Stored | None,
        typer.Option(
            help="What weights are kept in; bf16 where the processor has it.", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the engine.", show_default=False)
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file, for HTTPS.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="PEM file of its private key.", show_default=False)
    ] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(help="A proxy on this machine does HTTPS and sets X-Forwarded-For."),
    ] = False,
    open_metrics: Annotated[
        bool, typer.Option(help="Show /metrics to other machines too.")
    ] = False,
    log_requests: Annotated[
        bool, typer.Option(help="Log method, path and status of requests; never prompts or keys.")
    ] = False,
) -> None:
    """Serve the newest sound checkpoint of a run: page, API, accounts."""
    with extra("serve"):
        from opencolossus.serve.accounts.database import default_url
        from opencolossus.serve.api.hub import Options
        from opencolossus.serve.server import Binding
        from opencolossus.serve.start import hosts_for, serve
    binding = Binding(host, port, certificate, key, behind_proxy)
    options = Options(
        accounts=accounts,
        sign_up=not binding.public and not behind_proxy if sign_up is None else sign_up,
        secure_cookies=certificate is not None or behind_proxy,
        open_metrics=open_metrics,
        hosts=hosts_for(binding),
        new_user_tier=tier,
    )
    serve(
        folder,
        binding,
        options,
        database or default_url(),
        engine=engine,
        slots=slots,
        queue=queue,
        device=device.value,
        threads=threads,
        dtype=dtype and dtype.value,
        log_requests=log_requests,
    )


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
