"""What every route needs: the engine, the model's name, the database, who runs what."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.accounts import quotas
from opencolossus.serve.accounts.database import Database, is_outage
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.accounts.tiers import TIERS
from opencolossus.serve.answers import Answers, Generator
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.metrics import Metrics, Stopwatch
from opencolossus.serve.request import Delta, Request

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

    async def begin(self, user: User, requests: Sequence[Request]) -> Ticket:
        """Admit requests of a user and hand them to the engine.

        Raises:
            ApiError: the user runs too many answers already.
            QuotaExceededError, QueueFullError, EngineDownError: not now.
        """
        tier = TIERS.get(user.tier, TIERS["free"])
        if self.streams[user.id] + len(requests) > tier.streams:
            raise ApiError(
                429,
                f"the {tier.name} tier allows {tier.streams} answers at the same time",
                code="rate_limit_exceeded",
                retry_after=5,
            )
        self.streams[user.id] += len(requests)
        try:
            prompt = prompt_tokens(requests)
            most = sum(request.max_tokens for request in requests)
            started = time.time()
            usage = None
            if tier.limited:
                usage = await self.write(
                    lambda begin: quotas.admit(begin, user, self.model, prompt, most)
                )
            bill = Bill(user.id, self.model, started, usage)
            try:
                answers = self.engine.submit(requests)
            except Exception:
                if usage is not None:
                    self.later(self.settle(bill, 0, 0, "error"))
                raise
        except BaseException:
            self.release(user.id, len(requests))
            raise
        self.metrics.tokens.labels("prompt").inc(prompt)
        return Ticket(self, requests, answers, bill)

    def release(self, user_id: int, count: int) -> None:
        """Note that answers of a user have ended."""
        self.streams[user_id] -= count
        if self.streams[user_id] <= 0:
            del self.streams[user_id]

    async def settle(self, bill: Bill, prompt: int, completion: int, outcome: str) -> None:
        """Record what a request took; while the database is away, what it might have taken."""

        def write(begin: Session) -> None:
            if bill.usage is not None:
                quotas.settle(begin, bill.usage, prompt, completion, outcome)
            else:
                quotas.record(
                    begin, bill.user, bill.model, bill.started, prompt, completion, outcome
                )

        try:
            await self.persist(write)
        except IntegrityError:
            pass  # the account was deleted meanwhile
        except SQLAlchemyError as error:
            LOG.error("usage is not recorded: %s", str(error).splitlines()[0])


def prompt_tokens(requests: Sequence[Request]) -> int:
    """Tokens of the prompts; several choices share one."""
    return sum({id(request.prompt): len(request.prompt) for request in requests}.values())


@dataclass(frozen=True)
class Bill:
    """Whom a request is counted for."""

    user: int
    model: str
    started: float
    usage: int | None
    """Where the most that it may cost is recorded; None for users without limits."""


class Ticket:
    """Running answers of a user; to be closed in any case."""

    def __init__(self, hub: Hub, requests: Sequence[Request], answers: Answers, bill: Bill) -> None:
        self._hub = hub
        self._answers = answers
        self._bill = bill
        self._open = True
        self.requests = requests
        self._watches = [Stopwatch(hub.metrics) for _ in requests]
        self._finishes: list[str | None] = [None] * len(requests)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return prompt_tokens(self.requests)

    @property
    def reused_tokens(self) -> int:
        """Tokens of these that were in the cache already."""
        known = {id(r.prompt): w.reused for r, w in zip(self.requests, self._watches, strict=True)}
        return sum(known.values())

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        return sum(watch.tokens for watch in self._watches)

    @property
    def finished(self) -> bool:
        """Whether all answers have ended."""
        return None not in self._finishes

    def __aiter__(self) -> Ticket:
        return self

    async def __anext__(self) -> tuple[int, Delta]:
        """The number of the request, and a piece of its answer."""
        index, delta = await self._answers.__anext__()
        self._watches[index].see(delta)
        if delta.finish is not None:
            self._finishes[index] = delta.finish
        return index, delta

    def close(self) -> None:
        """Free the slots of what is not finished, and record what was used."""
        if not self._open:
            return
        self._open = False
        self._answers.close()
        for watch, finish in zip(self._watches, self._finishes, strict=True):
            if finish is None:
                watch.end("cancelled")
        outcomes = {finish or "cancelled" for finish in self._finishes}
        outcome = next(o for o in ("error", "cancelled", "length", "stop") if o in outcomes)
        self._hub.release(self._bill.user, len(self.requests))
        self._hub.later(
            self._hub.settle(self._bill, self.prompt_tokens, self.completion_tokens, outcome)
        )
