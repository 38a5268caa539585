"""One engine process from its start to its end: asked, heard, watched."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from opencolossus.serve.watch import Watch
from opencolossus.serve.worker import Cancel, Progress, Ready, Refused, Submit, work

if TYPE_CHECKING:
    from opencolossus.serve.engine import Engine

LOG = logging.getLogger("colossus.serve")


class EngineProcess:
    """An engine in a process of its own.

    Used from one event loop. One thread writes to the process, which may be too busy to read, and
    another one watches it.
    """

    def __init__(
        self,
        build: Callable[[], Engine],
        timeout: float,
        take: Callable[[EngineProcess, Ready | Refused | Progress], None],
        lost: Callable[[EngineProcess], None],
    ) -> None:
        """Start it.

        Args:
            timeout: seconds of silence after which one that owes an answer is killed.
            take: gets what it says.
            lost: is called once, when nothing more will come.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, build), name="colossus-engine", daemon=True
        )
        self._process.start()
        theirs.close()
        self._timeout, self._take, self._lost = timeout, take, lost
        self._closed = False
        self.hung = False
        """Whether it was killed because it said nothing any more."""
        self.watch = Watch(timeout, self._give_up)
        self._outbox: queue.SimpleQueue[Submit | Cancel | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._connection.fileno(), self._receive, self._connection)
        threading.Thread(target=self._write, args=(self._connection,), daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Process id."""
        return self._process.pid

    def send(self, message: Submit | Cancel) -> None:
        """Ask for something; it will be heard of."""
        self.watch.asked()
        self._outbox.put(message)

    def kill(self) -> None:
        """End it, also if it is stopped."""
        self._process.kill()

    async def gone(self, patience: float) -> None:
        """Wait until it has ended, at most so many seconds: a stuck driver can hold a process."""
        await asyncio.to_thread(self._process.join, patience)

    async def end(self, patience: float) -> None:
        """Ask it to end, and kill it if it has not after so many seconds."""
        self.watch.end()
        if not self._closed:
            self._hang_up()
        await self.gone(patience)
        if self._process.is_alive():
            self.kill()
            await asyncio.to_thread(self._process.join)
        self._close()

    def _hang_up(self) -> None:
        """End the connection, at which the engine ends; it does not listen to SIGTERM."""
        with socket.socket(fileno=os.dup(self._connection.fileno())) as ours, suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    def _give_up(self) -> None:
        """Kill it for its silence; runs in the thread that watches."""
        LOG.error(
            "the engine has said nothing for %g s while it was asked; it is killed and started "
            "again (if its steps take so long, give more by --engine-timeout)",
            self._timeout,
        )
        self.hung = True
        self.kill()
        # Answers end now even if a driver holds the process, and the connection with it.
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._close)

    def _write(self, connection: Connection) -> None:
        while (message := self._outbox.get()) is not None:
            with suppress(OSError):  # the reader finds out
                connection.send(message)
        connection.close()  # nobody uses it any more

    def _receive(self, connection: Connection) -> None:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            self._close()
            return
        self._take(self, message)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.watch.end()
        self._loop.remove_reader(self._connection.fileno())
        self._hang_up()
        self._outbox.put(None)
        self._lost(self)
