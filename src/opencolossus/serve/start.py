"""From what the command line says to a running server."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress

from opencolossus.serve.accounts.database import Database
from opencolossus.serve.accounts.tiers import tier
from opencolossus.serve.api.app import LOOPBACK
from opencolossus.serve.api.hub import Hub, Options
from opencolossus.serve.engines import Engines
from opencolossus.serve.server import Binding, listen, make_server, run
from opencolossus.serve.trained import open_run
from opencolossus.specs.errors import UserError


def check(binding: Binding, options: Options) -> None:
    """Refuse what is not safe.

    Raises:
        UserError: other machines could come in without an account.
    """
    if binding.public and not options.accounts:
        raise UserError(
            f"--no-accounts together with --host {binding.host} would let everybody in; "
            "leave one of them out"
        )
    if (binding.certificate is None) != (binding.key is None):
        raise UserError("--certificate and --key go together; give both or neither")
    for path in (binding.certificate, binding.key):
        if path is not None and not path.is_file():
            raise UserError(f"{path} is not a file; give a PEM file")
    tier(options.new_user_tier)


def options_for(
    binding: Binding, accounts: bool, sign_up: bool | None, tier: str, open_metrics: bool
) -> Options:
    """How the server behaves, sensible for who can reach it."""
    hidden = not binding.public and not binding.behind_proxy
    return Options(
        accounts=accounts,
        sign_up=hidden if sign_up is None else sign_up,
        secure_cookies=binding.certificate is not None or binding.behind_proxy,
        open_metrics=open_metrics,
        # A server for this machine answers to few names.
        hosts=(*LOOPBACK, binding.host) if hidden else (),
        new_user_tier=tier,
    )


def serve(
    engines: Engines, binding: Binding, options: Options, database_url: str, log_requests: bool
) -> None:
    """Serve a run until asked to end.

    Raises:
        UserError: something that the person who asked can change.
    """
    check(binding, options)
    engines.check()
    trained = open_run(engines.folder)
    listener = listen(binding)
    database = Database(database_url)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    generator = engines.generator(trained)
    hub = Hub(
        generator, trained.name, trained.tokenizer, database, options, trained.title,
        trained.created,
    )  # fmt: skip
    for line in _introduction(hub, binding, listener.getsockname()[1]):
        print(line, file=sys.stderr)
    server = make_server(hub, binding, log_requests=log_requests)
    with suppress(asyncio.CancelledError):  # by SIGTERM, before it was ready
        asyncio.run(run(hub, server, listener))


def _introduction(hub: Hub, binding: Binding, port: int) -> list[str]:
    scheme = "https" if binding.certificate else "http"
    host = f"[{binding.host}]" if ":" in binding.host else binding.host
    lines = [
        f"{hub.title} at {scheme}://{host}:{port}/ (page) and {scheme}://{host}:{port}/v1 (API)",
        f"accounts in {hub.database.shown()}" if hub.options.accounts else "no accounts",
    ]
    if binding.public and binding.certificate is None and not binding.behind_proxy:
        lines.append(
            "warning: other machines reach this server without encryption, and passwords and keys "
            "can be read on the way; give --certificate and --key, or put a proxy before it"
        )
    return lines
