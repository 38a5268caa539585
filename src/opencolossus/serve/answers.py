"""What the API sees of an engine, wherever it runs: requests go in, pieces of answers come out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from opencolossus.serve.request import Delta, Request

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

    @property
    def state(self) -> State:
        """Whether it can be asked."""

    @property
    def slots(self) -> int:
        """Answers that run together."""

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""

    @property
    def load(self) -> int:
        """Requests that run or wait."""

    @property
    def running(self) -> int:
        """Answers that run."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""

    @property
    def cached_tokens(self) -> int:
        """Tokens of running answers in the cache."""

    @property
    def restarts(self) -> int:
        """Times that it was started again."""

    async def start(self) -> None:
        """Make it ready."""

    async def stop(self) -> None:
        """End it."""

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer."""
