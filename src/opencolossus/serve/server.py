"""Running the server: sockets, time limits, logs, the end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.protocols.http.h11_impl import H11Protocol

from opencolossus.serve.accounts import quotas
from opencolossus.serve.api.app import create_app
from opencolossus.serve.api.hub import Hub
from opencolossus.specs.errors import UserError

LOG = logging.getLogger("colossus.serve")
HEADER_SECONDS = 10.0
"""A client that has not sent its request's head by then is dropped."""
GRACE_SECONDS = 30
"""Running answers may take so long to finish when the server is asked to end."""
MOST_CONNECTIONS = 2000


@dataclass(frozen=True)
class Binding:
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False

    @property
    def public(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever for the head of a connection's first request."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._waiting = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def listen(binding: Binding) -> socket.socket:
    """The socket, bound before anything slow is begun.

    Raises:
        UserError: the address or port cannot be had.
    """
    try:
        found = socket.getaddrinfo(
            binding.host, binding.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on {binding.host}:{binding.port}: {reason}; "
            "give another --host or --port"
        ) from None
    listener.set_inheritable(False)
    return listener


class Server(uvicorn.Server):
    """Ends quietly: uvicorn's own raises the signal again, before anything could be put away."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for the end; a second Ctrl-C does not wait for answers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        asked = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in asked}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class WithoutQuery(logging.Filter):
    """Leaves out what follows a path: somebody searched their conversations for it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten a line of uvicorn's log of requests."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                part.partition("?")[0] if isinstance(part, str) else part for part in record.args
            )
        return True


_WITHOUT_QUERY = WithoutQuery()


def make_server(hub: Hub, binding: Binding, *, log_requests: bool = False) -> Server:
    """The HTTP server of a hub, not started yet."""
    logging.getLogger("uvicorn.access").addFilter(_WITHOUT_QUERY)
    config = uvicorn.Config(
        create_app(hub),
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="info" if log_requests else "warning",
        access_log=log_requests,
        proxy_headers=binding.behind_proxy,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=65_536,
        ssl_certfile=binding.certificate,
        ssl_keyfile=binding.key,
    )
    return Server(config)


async def run(hub: Hub, server: Server, listener: socket.socket) -> None:
    """Start the engine and serve until asked to end; running answers are finished first.

    Raises:
        UserError: the engine cannot be built.
    """
    await _settle_lost(hub)
    try:
        await _start(hub)
        await server.serve(sockets=[listener])
    finally:
        await hub.settle_all()
        await hub.engine.stop()
        hub.database.close()


async def _settle_lost(hub: Hub) -> None:
    try:
        await hub.write(quotas.settle_lost)
    except SQLAlchemyError as error:  # a full disk: what was reserved counts until the next start
        LOG.error("usage of killed answers is not settled: %s", str(error).splitlines()[0])


async def _start(hub: Hub) -> None:
    """Start the engine; SIGTERM breaks that off, before the server listens to it itself."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        await hub.engine.start()
        return
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await hub.engine.start()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
