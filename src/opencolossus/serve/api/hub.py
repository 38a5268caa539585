"""What every route needs: the engine, the model's name, the database, who runs what."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.accounts.database import Database, is_outage
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.answers import Generator
from opencolossus.serve.api.metrics import Metrics

LOG = logging.getLogger("colossus.serve")
Result = TypeVar("Result")
PAUSES = (0.5,) * 20 + (5.0,) * 48
"""Seconds between tries to write what must not be lost, while the database is away."""


@dataclass(frozen=True)
class Options:
    """How the server was asked to behave."""

    accounts: bool = True
    """Off: whoever reaches the server is its one user."""
    sign_up: bool = True
    """Whether people may make accounts for themselves."""
    secure_cookies: bool = False
    """Send cookies over HTTPS only."""
    open_metrics: bool = False
    """Show /metrics to others than this machine."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may be for; empty for any."""
    body_limit: int = 1_000_000
    """Bytes."""
    body_seconds: float = 30.0
    new_user_tier: str = "free"


@dataclass
class Hub:
    """The parts of one server."""

    engine: Generator
    model: str
    tokenizer: Tokenizer
    database: Database
    options: Options
    title: str = ""
    created: float = field(default_factory=time.time)
    """When the model was made, in seconds since 1970 (UTC)."""
    local_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Stands for the session where accounts are off."""
    local_user: User | None = None
    """Who asks where accounts are off."""
    streams: Counter[int] = field(default_factory=Counter)
    """Running answers by user."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nothing more is waited for."""

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.engine)

    async def write(self, action: Callable[[Session], Result]) -> Result:
        """Run ``action`` in a transaction, off the event loop."""

        def run() -> Result:
            with self.database.begin() as begin:
                return action(begin)

        return await run_in_threadpool(run)

    async def erase(self, action: Callable[[Session], Result]) -> Result:
        """Run ``action``, which deletes, in a transaction, and leave nothing of it on the disk."""
        found = await self.write(action)
        self.later(run_in_threadpool(self.database.wipe))
        return found

    async def read(self, action: Callable[[Session], Result]) -> Result:
        """Run ``action`` in a transaction that changes nothing, off the event loop."""

        def run() -> Result:
            with self.database.read() as begin:
                return action(begin)

        return await run_in_threadpool(run)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` even if the request that asked for it has been cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def persist(self, action: Callable[[Session], Result]) -> Result:
        """Run ``action`` in a transaction, again and again while the database is away.

        Raises:
            SQLAlchemyError: it was away for minutes, or the server ends.
        """
        for pause in PAUSES:
            try:
                return await self.write(action)
            except SQLAlchemyError as error:
                if not is_outage(error) or self.ending.is_set():
                    raise
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), pause)
        return await self.write(action)

    async def settle_all(self) -> None:
        """Wait for everything that was put off."""
        self.ending.set()
        while self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def release(self, user_id: int, count: int) -> None:
        """Note that answers of a user have ended."""
        self.streams[user_id] -= count
        if self.streams[user_id] <= 0:
            del self.streams[user_id]
