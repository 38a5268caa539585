"""The server's side of the engine: hands requests over, hands answers out, restarts a crash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import queue
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Literal, Protocol

from opencolossus.serve.fair import QueueFullError
from opencolossus.serve.request import Delta, Request
from opencolossus.serve.worker import Cancel, Progress, Ready, Refused, Submit, work
from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from opencolossus.serve.engine import Engine

LOG = logging.getLogger("colossus.serve")
CRASHED = "the engine stopped unexpectedly while it answered; please ask again"
LONGEST_PAUSE = 30.0

State = Literal["starting", "ready", "restarting", "stopped"]


class EngineDownError(Exception):
    """There is no engine right now; there will be one again soon."""


class Answers:
    """The pieces of the answers to some requests, in the order in which they are made.

    To be closed in any case: that frees the slots of answers that nobody waits for any more.
    """

    def __init__(self, requests: Sequence[Request], cancel: Callable[[str], None]) -> None:
        self._cancel = cancel
        self._index = {request.id: index for index, request in enumerate(requests)}
        self._left = set(self._index)
        self._pieces: asyncio.Queue[Delta] = asyncio.Queue()

    def put(self, delta: Delta) -> None:
        """Add a piece."""
        self._pieces.put_nowait(delta)

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> tuple[int, Delta]:
        """The number of the request, and a piece of its answer."""
        if not self._left:
            raise StopAsyncIteration
        delta = await self._pieces.get()
        if delta.finish is not None:
            self._left.discard(delta.id)
        return self._index[delta.id], delta

    def close(self) -> None:
        """Forget what is not finished."""
        for identifier in self._left:
            self._cancel(identifier)
        self._left = set()


class Generator(Protocol):
    """What the API needs of an engine."""

    state: State
    slots: int
    context: int
    running: int
    waiting: int
    cached_tokens: int
    restarts: int

    async def start(self) -> None:
        """Make it ready."""

    async def stop(self) -> None:
        """End it."""

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer."""


class Supervisor:
    """One engine process, watched over.

    Used from one event loop. Two threads talk to the process, since its pipe blocks.
    """

    def __init__(self, build: Callable[[], Engine], queue_limit: int = 256) -> None:
        self._build = build
        self._queue_limit = queue_limit
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

    async def start(self) -> None:
        """Start the engine and wait until it can be asked.

        Raises:
            UserError: it cannot be built.
        """
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
        process.terminate()
        await asyncio.to_thread(process.join, 5)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join)
        self._fail_all("the server is shutting down")

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer all of the requests, or none.

        Raises:
            QueueFullError: too many requests wait already.
            EngineDownError: the engine is not there.
        """
        if self.state != "ready":
            raise EngineDownError("the engine is starting; try again in a few seconds")
        if len(self._answers) + len(requests) > self.slots + self._queue_limit:
            raise QueueFullError(
                f"the server is busy: {self._queue_limit} requests may wait; try again later"
            )
        answers = Answers(requests, self._cancel)
        for request in requests:
            self._answers[request.id] = answers
            self._outbox.put(Submit(request))
        return answers

    def _cancel(self, identifier: str) -> None:
        if self._answers.pop(identifier, None) is not None:
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
        loop = asyncio.get_running_loop()
        for target in (self._read, self._write):
            threading.Thread(target=target, args=(ours, self._outbox, loop), daemon=True).start()

    def _write(
        self,
        connection: Connection,
        outbox: queue.SimpleQueue[Submit | Cancel | None],
        _loop: asyncio.AbstractEventLoop,
    ) -> None:
        while (message := outbox.get()) is not None:
            try:
                connection.send(message)
            except OSError:
                return

    def _read(
        self,
        connection: Connection,
        outbox: queue.SimpleQueue[Submit | Cancel | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            while True:
                message = connection.recv()
                loop.call_soon_threadsafe(self._take, message)
        except (EOFError, OSError):
            pass
        outbox.put(None)
        with contextlib.suppress(RuntimeError):  # the loop is gone when the server has ended
            loop.call_soon_threadsafe(self._lost, connection)

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
