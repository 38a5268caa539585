"""The server's side of the engine: hands requests over, hands answers out, restarts a crash."""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from opencolossus.serve.answers import Answers, EngineDownError, State
from opencolossus.serve.fair import Room
from opencolossus.serve.request import Delta, Request
from opencolossus.serve.worker import Cancel, Progress, Ready, Refused, Submit, work
from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from opencolossus.serve.engine import Engine

LOG = logging.getLogger("colossus.serve")
CRASHED = "the engine stopped unexpectedly while it answered; please ask again"
LONGEST_PAUSE = 30.0


class Supervisor:
    """One engine process, watched over.

    Used from one event loop. A thread writes to the process, which may be too busy to read.
    """

    def __init__(self, build: Callable[[], Engine], queue_limit: int = 256) -> None:
        self._build = build
        self._room = Room(queue_limit)
        self._answers: dict[str, Answers] = {}
        self._ready = asyncio.Event()
        self._outbox: queue.SimpleQueue[Submit | Cancel | None] = queue.SimpleQueue()
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._refused: str | None = None
        self._ended = asyncio.Event()
        self._crashes = 0
        self.state: State = "stopped"
        self.slots = 0
        self.context = 0
        self.running = 0
        self.waiting = 0
        self.cached_tokens = 0
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the engine."""
        return self._process.pid if self._process else None

    @property
    def load(self) -> int:
        """Requests that run or wait."""
        return len(self._answers)

    async def start(self) -> None:
        """Start the engine and wait until it can be asked.

        Raises:
            UserError: it cannot be built.
        """
        atexit.register(self._kill)  # else Python would wait for it at the end
        self._spawn()
        waits = {asyncio.create_task(e.wait()) for e in (self._ready, self._ended)}
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if not self._ready.is_set():
            await self.stop()
            raise UserError(self._refused or "the engine ended while it started")

    async def stop(self) -> None:
        """End the engine; answers that still run break off."""
        self.state = "stopped"
        if self._restarting:
            self._restarting.cancel()
        self._outbox.put(None)
        process = self._process
        if process is None:
            return
        self._hang_up()
        # One that is still being built would not notice for a while, and has nothing to finish.
        await asyncio.to_thread(process.join, 5 if self._ready.is_set() else 0)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join)
        atexit.unregister(self._kill)
        self._fail_all("the server is shutting down")

    def _hang_up(self) -> None:
        """End the connection, at which the engine ends; it does not listen to SIGTERM."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
                ours.shutdown(socket.SHUT_RDWR)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer all of the requests, or none.

        Raises:
            QueueFullError: too many requests wait already.
            EngineDownError: the engine is not there.
        """
        if self.state != "ready":
            raise EngineDownError("the engine is starting; try again in a few seconds")
        self._room.enter(requests, self.slots)
        answers = Answers(requests, self._cancel)
        for request in requests:
            self._answers[request.id] = answers
            self._outbox.put(Submit(request))
        return answers

    def _cancel(self, identifier: str) -> None:
        if self._answers.pop(identifier, None) is not None:
            self._room.leave(identifier)
            self._outbox.put(Cancel(identifier))

    def _spawn(self) -> None:
        self.state = "restarting" if self._crashes else "starting"
        self._ended.clear()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self._build), name="colossus-engine", daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self._outbox = queue.SimpleQueue()
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive, ours)
        threading.Thread(target=self._write, args=(ours, self._outbox), daemon=True).start()

    def _write(
        self, connection: Connection, outbox: queue.SimpleQueue[Submit | Cancel | None]
    ) -> None:
        while (message := outbox.get()) is not None:
            try:
                connection.send(message)
            except OSError:
                return

    def _receive(self, connection: Connection) -> None:
        try:
            self._take(connection.recv())
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(connection.fileno())
            self._outbox.put(None)
            self._lost(connection)

    def _take(self, message: Ready | Refused | Progress) -> None:
        if isinstance(message, Ready):
            self.slots, self.context = message.slots, message.context
            self.state = "ready"
            self._ready.set()
        elif isinstance(message, Refused):
            self._refused = message.reason
        else:
            self._crashes = 0
            self.running, self.waiting = message.running, message.waiting
            self.cached_tokens = message.cached_tokens
            for delta in message.deltas:
                self._hand_out(delta)

    def _lost(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        self._ended.set()
        connection.close()
        self.running = self.waiting = self.cached_tokens = 0
        if self.state == "stopped" or not self._ready.is_set():
            return
        LOG.error("the engine ended unexpectedly; starting it again")
        self.state = "restarting"
        self._fail_all(CRASHED)
        self._restarting = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        pause = min(0.1 * 2**self._crashes, LONGEST_PAUSE)
        self._crashes += 1
        self.restarts += 1
        await asyncio.sleep(pause)
        self._spawn()

    def _fail_all(self, reason: str) -> None:
        for identifier in list(self._answers):
            self._hand_out(Delta(identifier, finish="error", error=reason))

    def _hand_out(self, delta: Delta) -> None:
        answers = self._answers.get(delta.id)
        if answers is None:
            return
        answers.put(delta)
        if delta.finish is not None:
            del self._answers[delta.id]
            self._room.leave(delta.id)
