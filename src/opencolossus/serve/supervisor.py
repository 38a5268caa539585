"""The server's side of the engine: hands requests over, hands answers out, starts it again."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opencolossus.serve.answers import Answers, EngineDownError, State
from opencolossus.serve.fair import Room
from opencolossus.serve.process import EngineProcess
from opencolossus.serve.request import Delta, Request
from opencolossus.serve.worker import Cancel, Progress, Ready, Refused, Submit
from opencolossus.specs.errors import UserError

if TYPE_CHECKING:
    from opencolossus.serve.engine import Engine

LOG = logging.getLogger("colossus.serve")
CRASHED = "the engine stopped unexpectedly while it answered; please ask again"
HUNG = "the engine stopped responding and is started again; please ask again"
TIMEOUT = 120.0
"""Seconds after which an engine that was asked and says nothing is given up."""
LONGEST_PAUSE = 30.0
LONGEST_END = 10.0
"""Seconds that a killed engine may take to give back its memory, before the next one is started."""


class Supervisor:
    """One engine process after the other; used from one event loop."""

    def __init__(
        self, build: Callable[[], Engine], queue_limit: int = 256, timeout: float = TIMEOUT
    ) -> None:
        self._build = build
        self._timeout = timeout
        self._room = Room(queue_limit)
        self._answers: dict[str, Answers] = {}
        self._ready = asyncio.Event()
        self._process: EngineProcess | None = None
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
        if self._process is None:
            return
        # One that is still being built would not notice for a while, and has nothing to finish.
        await self._process.end(5 if self._ready.is_set() else 0)
        atexit.unregister(self._kill)
        self._fail_all("the server is shutting down")

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
            self._send(Submit(request))
        return answers

    def _cancel(self, identifier: str) -> None:
        if self._answers.pop(identifier, None) is not None:
            self._room.leave(identifier)
            self._send(Cancel(identifier))

    def _send(self, message: Submit | Cancel) -> None:
        if self._process is not None:
            self._process.send(message)

    def _spawn(self) -> None:
        self.state = "restarting" if self._crashes else "starting"
        self._ended.clear()
        self._process = EngineProcess(self._build, self._timeout, self._take, self._lost)

    def _take(self, process: EngineProcess, message: Ready | Refused | Progress) -> None:
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
        process.watch.heard(owes=self.load > 0)

    def _lost(self, process: EngineProcess) -> None:
        self._ended.set()
        self.running = self.waiting = self.cached_tokens = 0
        if self.state == "stopped" or not self._ready.is_set():
            return
        if not process.hung:  # that was told already
            LOG.error("the engine ended unexpectedly; starting it again")
        self.state = "restarting"
        self._fail_all(HUNG if process.hung else CRASHED)
        self._restarting = asyncio.create_task(self._restart(process))

    async def _restart(self, after: EngineProcess) -> None:
        pause = min(0.1 * 2**self._crashes, LONGEST_PAUSE)
        self._crashes += 1
        self.restarts += 1
        await asyncio.sleep(pause)
        await after.gone(LONGEST_END)
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
