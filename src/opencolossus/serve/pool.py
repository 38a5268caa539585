"""Several engines as one: each in a process of its own, on cores or a GPU of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from opencolossus.serve.answers import Answers, EngineDownError, Generator, State
from opencolossus.serve.request import Request

REMEMBERED = 10_000
"""Users whose last engine is known."""


class Pool:
    """Engines of the same model; a request goes to one that has room.

    A user stays with the engine that answered last while it has a free slot, since the
    conversation is in its cache. If an engine ends, the others go on.
    """

    def __init__(self, engines: Sequence[Generator]) -> None:
        self._engines = list(engines)
        self._last: OrderedDict[str, Generator] = OrderedDict()

    async def start(self) -> None:
        """Start all of them.

        Raises:
            UserError: one cannot be built.
        """
        await asyncio.gather(*(engine.start() for engine in self._engines))

    async def stop(self) -> None:
        """End all of them."""
        await asyncio.gather(*(engine.stop() for engine in self._engines))

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer.

        Raises:
            QueueFullError: too many requests wait everywhere.
            EngineDownError: no engine is there.
        """
        ready = [engine for engine in self._engines if engine.state == "ready"]
        if not ready:
            raise EngineDownError("the engines are starting; try again in a few seconds")
        user = requests[0].user
        usual = self._last.pop(user, None)
        if usual not in ready or usual.load + len(requests) > usual.slots:
            usual = min(ready, key=lambda engine: engine.load / engine.slots)
        answers = usual.submit(requests)
        self._last[user] = usual
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return answers

    @property
    def state(self) -> State:
        """That of the engine that is best off."""
        states = {engine.state for engine in self._engines}
        order: tuple[State, ...] = ("ready", "restarting", "starting", "stopped")
        return next(state for state in order if state in states)

    @property
    def slots(self) -> int:
        """Answers that run together."""
        return sum(engine.slots for engine in self._engines)

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together, in any of them."""
        return min(engine.context for engine in self._engines)

    @property
    def load(self) -> int:
        """Requests that run or wait."""
        return sum(engine.load for engine in self._engines)

    @property
    def running(self) -> int:
        """Answers that run."""
        return sum(engine.running for engine in self._engines)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(engine.waiting for engine in self._engines)

    @property
    def cached_tokens(self) -> int:
        """Tokens of running answers in the caches."""
        return sum(engine.cached_tokens for engine in self._engines)

    @property
    def restarts(self) -> int:
        """Times that an engine was started again."""
        return sum(engine.restarts for engine in self._engines)
