"""The engine in a process of its own: what a crash there breaks can be started again."""

from __future__ import annotations

import gc
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from opencolossus.serve.pieces import Outbox
from opencolossus.serve.request import Delta, Request
from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from opencolossus.serve.engine import Engine

SIGN_OF_LIFE = 0.5
"""Seconds without a piece of an answer after which a busy engine says that it goes on."""


@dataclass(frozen=True)
class Submit:
    """Answer this."""

    request: Request


@dataclass(frozen=True)
class Cancel:
    """Forget this."""

    id: str


@dataclass(frozen=True)
class Ready:
    """The engine can be asked."""

    slots: int
    context: int


@dataclass(frozen=True)
class Refused:
    """The engine cannot be built; no second try will change that."""

    reason: str


@dataclass(frozen=True)
class Progress:
    """What is ready to be handed out, and how the engine stands."""

    deltas: tuple[Delta, ...]
    running: int
    waiting: int
    cached_tokens: int


def work(connection: Connection, build: Callable[[], Engine]) -> None:
    """Build an engine and run it until the other end of the connection closes."""
    # Ctrl-C reaches the whole group of processes, and so does systemd's SIGTERM; when to stop is
    # the parent's to say, by closing the connection.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        engine = build()
    except UserError as error:
        connection.send(Refused(str(error)))
        return
    gc.freeze()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(Ready(engine.slots, engine.context))
        _run(connection, engine)


def _run(connection: Connection, engine: Engine) -> None:
    heard, outbox, said = select.poll(), Outbox(), 0.0
    heard.register(connection.fileno(), select.POLLIN)
    while True:
        _listen(connection, heard, engine, outbox)
        if engine.busy:
            pieces, now = engine.step(), time.monotonic()
            deltas = outbox.due(pieces, now)
            if deltas or now - said >= SIGN_OF_LIFE:
                connection.send(_progress(engine, deltas))
                said = now


def _progress(engine: Engine, deltas: tuple[Delta, ...]) -> Progress:
    return Progress(deltas, engine.running, len(engine.queue), engine.cached_tokens)


def _listen(connection: Connection, heard: select.poll, engine: Engine, outbox: Outbox) -> None:
    """Take every message that is there; wait for one while there is nothing to do."""
    while heard.poll(0 if engine.busy else None):
        message = connection.recv()
        if isinstance(message, Submit):
            try:
                engine.submit(message.request)
            except Exception as error:  # the request's fault, not the engine's
                failed = Delta(message.request.id, finish="error", error=str(error))
                connection.send(_progress(engine, (failed,)))
        elif isinstance(message, Cancel):
            engine.cancel(message.id)
            outbox.forget(message.id)
            connection.send(_progress(engine, ()))


def build_engine(
    folder: Path,
    slots: int,
    queue: int,
    device: str | None,
    threads: int | None,
    dtype: str | None = None,
    number: int = 0,
    engines: int = 1,
) -> Engine:
    """Load a run into an engine, in the process that will run it, which tells where that is.

    Args:
        number: of the engine, of so many ``engines``.

    Raises:
        UserError: the run cannot be loaded, or the device is not there.
    """
    import torch

    from opencolossus.serve.devices import find, told
    from opencolossus.serve.trained import open_run, usual_dtype

    if threads is not None:
        torch.set_num_threads(threads)
    place = find(device, number, engines)
    kept = dtype or usual_dtype(place)
    print(told(place, kept), file=sys.stderr, flush=True)
    return open_run(folder).engine(slots, queue, place, kept)
