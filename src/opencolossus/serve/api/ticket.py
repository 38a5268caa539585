"""Requests of a user under way: admitted, watched, and settled at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from opencolossus.serve.accounts import quotas
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.accounts.tiers import TIERS, Tier
from opencolossus.serve.answers import Answers
from opencolossus.serve.api import rates
from opencolossus.serve.api.errors import ApiError, translate
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.metrics import Stopwatch
from opencolossus.serve.request import Delta, Request

LOG = logging.getLogger("colossus.serve")


async def admit(hub: Hub, user: User, requests: Sequence[Request]) -> Ticket:
    """Admit requests of a user and hand them to the engine.

    Raises:
        ApiError: the user runs too many answers already, or asks for too many at once, or the
            engine has no room or is away, in tiers with limits.
        QuotaExceededError, QueueFullError, EngineDownError: not now.
        UserError: the tier never allows so much.
    """
    tier = TIERS.get(user.tier, TIERS["free"])
    _check_streams(tier, hub.streams[user.id], len(requests))
    hub.streams[user.id] += len(requests)
    try:
        bill = await _reserve(hub, user, tier, requests)
        answers = _submit(hub, requests, bill.admission)
    except BaseException:
        hub.release(user.id, len(requests))
        raise
    hub.metrics.tokens.labels("prompt").inc(prompt_tokens(requests))
    return Ticket(hub, requests, answers, bill)


def _check_streams(tier: Tier, running: int, wanted: int) -> None:
    message = f"the {tier.name} tier allows {tier.streams} answers at the same time"
    if wanted > tier.streams:  # waiting would not help
        raise ApiError(400, f"{message}, and {wanted} are asked for", param="n")
    if running + wanted > tier.streams:
        raise ApiError(429, message, code="rate_limit_exceeded", retry_after=5)


async def _reserve(hub: Hub, user: User, tier: Tier, requests: Sequence[Request]) -> Bill:
    """Record the most that the requests may cost, in tiers that count."""
    prompt, most = prompt_tokens(requests), sum(request.max_tokens for request in requests)
    started, admission = time.time(), None
    if tier.limited:
        admission = await hub.write(
            lambda begin: quotas.admit(begin, user, hub.model, prompt, most)
        )
    return Bill(user.id, hub.model, started, admission)


def _submit(hub: Hub, requests: Sequence[Request], admission: quotas.Admission | None) -> Answers:
    """Hand requests to the engine; a refusal is not counted, and tells what is left."""
    try:
        return hub.engine.submit(requests)
    except Exception as error:
        if admission is None:
            raise
        hub.later(forget(hub, admission))
        refused = translate(error)
        refused.headers.update(rates.headers(admission.before))
        raise refused from error


async def settle(hub: Hub, bill: Bill, prompt: int, completion: int, outcome: str) -> None:
    """Record what a request took; while the database is away, what it might have taken."""

    def write(begin: Session) -> None:
        if bill.admission is not None:
            quotas.settle(begin, bill.admission.usage, prompt, completion, outcome)
        else:
            quotas.record(begin, bill.user, bill.model, bill.started, prompt, completion, outcome)

    await _persist(hub, write)


async def forget(hub: Hub, admission: quotas.Admission) -> None:
    """Do not count a request that the server had no room for."""
    await _persist(hub, lambda begin: quotas.forget(begin, admission.usage))


async def _persist(hub: Hub, write: Callable[[Session], None]) -> None:
    try:
        await hub.persist(write)
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
    admission: quotas.Admission | None
    """None for users without limits."""


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
    def headers(self) -> dict[str, str]:
        """What the answer's head tells of the user's limits."""
        admission = self._bill.admission
        return {} if admission is None else rates.headers(admission.allowances)

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
            settle(self._hub, self._bill, self.prompt_tokens, self.completion_tokens, outcome)
        )
