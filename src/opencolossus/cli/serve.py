"""``colossus serve``: an OpenAI-compatible API and a web page for a trained run."""

from __future__ import annotations

import typer
from typer.core import TyperGroup

from opencolossus.cli import serve_options as option
from opencolossus.cli.common import DeviceName, extra
from opencolossus.cli.serve_users import users

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
app.add_typer(users, name="users")


@app.command(RUN)
def run(
    folder: option.Folder,
    host: option.Host = "127.0.0.1",
    port: option.Port = 8000,
    database: option.Database = None,
    accounts: option.Accounts = True,
    sign_up: option.SignUp = None,
    tier: option.Tier = "free",
    engine: option.EngineUrl = None,
    workers: option.Workers = 1,
    slots: option.Slots = 32,
    queue: option.Queue = 256,
    device: DeviceName = None,
    dtype: option.Dtype = None,
    threads: option.Threads = None,
    engine_timeout: option.EngineTimeout = None,
    certificate: option.Certificate = None,
    key: option.Key = None,
    behind_proxy: option.BehindProxy = False,
    open_metrics: option.OpenMetrics = False,
    log_requests: option.LogRequests = False,
) -> None:
    """Serve the newest sound checkpoint of a run: page, API, accounts."""
    with extra("serve"):
        from opencolossus.serve.accounts.database import default_url
        from opencolossus.serve.engines import Engines
        from opencolossus.serve.server import Binding
        from opencolossus.serve.start import options_for, serve
    binding = Binding(host, port, certificate, key, behind_proxy)
    options = options_for(binding, accounts, sign_up, tier, open_metrics)
    kept = dtype and dtype.value
    engines = Engines(folder, engine, workers, slots, queue, device, kept, threads, engine_timeout)
    serve(engines, binding, options, database or default_url(), log_requests)
