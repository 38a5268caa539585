"""Words in, words out; nothing is computed here."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from opencolossus.cli import (
    calibrate,
    catalog,
    chat,
    evaluate,
    export,
    launch,
    plan,
    report,
    schema,
    serve,
    simulate,
    train,
    validate,
)
from opencolossus.specs.errors import UserError
from opencolossus.version import __version__

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What a write to a full or broken device fails with."""
ORDER = "plan simulate train launch chat serve report eval export catalog schema validate calibrate"
"""The verbs in the order of a project: decide, do, use, look up, check."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        known = super().list_commands(ctx)
        return sorted(known, key=ORDER.split().index)


app = typer.Typer(
    name="colossus",
    cls=_InOrder,
    help="Plan, simulate, train and serve large language models on clusters short of power, "
    "memory, bandwidth or time.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan", short_help="How many GPUs, at which cap, in which layout, by when.")(plan.plan)
app.command("simulate", short_help="The site over time: power, heat, failures, tokens.")(
    simulate.simulate
)
app.command("launch", short_help="Start a run on many nodes: torchrun, Slurm, Kubernetes.")(
    launch.launch
)
app.command("train", short_help="Train on the machine at hand.")(train.train)
app.command("chat", short_help="Talk to a trained run in the terminal.")(chat.chat)
app.command("eval", short_help="A trained run on tasks of lm-eval.")(evaluate.evaluate)
app.command("report", short_help="A training run as a page.")(report.report)
app.command("export", short_help="A trained run as files for other software.")(export.export)
app.add_typer(serve.app, name="serve", short_help="Serve a trained run: API, accounts, page.")
app.command("catalog", short_help="Parts, models and places, each number with its source.")(
    catalog.catalog
)
app.command("validate", short_help="The planner against published measurements.")(validate.validate)
app.command("calibrate", short_help="Fit the planner's constants to measurements.")(
    calibrate.calibrate
)
app.command("schema", short_help="The JSON schema of a description, for editors.")(schema.schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"colossus {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; a person's mistake is one sentence and exit status 2."""
    _open_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"colossus: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("colossus: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone; what Python still holds for it goes nowhere.
        _forget_output()
        sys.exit(0)
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        _forget_output()
        print(f"colossus: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _open_streams() -> None:
    """Let whatever was closed swallow what it gets, and letters that it lacks be question marks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _forget_output() -> None:
    """Send what Python still holds for standard output nowhere, or its exit would try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
