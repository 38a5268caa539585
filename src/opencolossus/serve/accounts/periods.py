"""What a user has used within a minute or a month, and how long it counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session as Transaction

from opencolossus.serve.accounts.tables import Usage
from opencolossus.serve.accounts.tiers import Tier

MINUTE = 60.0


@dataclass(frozen=True)
class Used:
    """Requests and tokens."""

    requests: int
    tokens: int


@dataclass(frozen=True)
class Allowance:
    """One limit: how much of it is left, and in how many seconds all of it is again."""

    limit: int
    left: int
    reset: float


@dataclass(frozen=True)
class Period:
    """A minute or a month of a user: what a tier allows in it, and what was used."""

    name: str
    length: float
    """Seconds for which a request that is made now counts."""
    requests: int | None
    tokens: int | None
    past: tuple[tuple[float, Used], ...] = ()
    """What counts, and for how many seconds more; what is forgotten first stands first."""

    @property
    def used(self) -> Used:
        """All that counts."""
        return Used(
            sum(used.requests for _, used in self.past), sum(used.tokens for _, used in self.past)
        )

    def refuses(self, used: Used, cost: int) -> str | None:
        """``"requests"`` or ``"tokens"`` if one more request, of this cost, is too much of them."""
        if self.requests is not None and used.requests >= self.requests:
            return "requests"
        if self.tokens is not None and used.tokens + cost > self.tokens:
            return "tokens"
        return None

    def wait(self, cost: int) -> float:
        """Seconds until a request of this cost fits; 0 if it does now."""
        used = self.used
        if self.refuses(used, cost) is None:
            return 0.0
        for seconds, gone in self.past:
            used = Used(used.requests - gone.requests, used.tokens - gone.tokens)
            if self.refuses(used, cost) is None:
                return seconds
        return self.length

    def after(self, cost: int) -> Period:
        """The period with one more request."""
        return replace(self, past=(*self.past, (self.length, Used(1, cost))))

    def allowance(self, kind: str) -> Allowance | None:
        """What is left of ``"requests"`` or ``"tokens"``; None where they have no limit."""
        limit: int | None = getattr(self, kind)
        if limit is None:
            return None
        left = max(limit - getattr(self.used, kind), 0)
        return Allowance(limit, left, self.past[-1][0] if self.past else 0.0)


def tightest(periods: Sequence[Period]) -> dict[str, Allowance]:
    """Of requests and of tokens, that limit of which least is left."""
    found = {}
    for kind in ("requests", "tokens"):
        known = [one for period in periods if (one := period.allowance(kind)) is not None]
        if known:
            found[kind] = min(known, key=lambda one: (one.left, -one.reset))
    return found


def periods_of(begin: Transaction, user_id: int, tier: Tier, now: float) -> list[Period]:
    """The periods in which a tier limits anything, with what the user has used of them."""
    found = []
    if (tier.requests_per_minute, tier.tokens_per_minute) != (None, None):
        limits = (tier.requests_per_minute, tier.tokens_per_minute)
        found.append(Period("minute", MINUTE, *limits, _last_minute(begin, user_id, now)))
    if (tier.requests_per_month, tier.tokens_per_month) != (None, None):
        length = next_month(now) - now
        past = ((length, used_since(begin, user_id, month_start(now))),)
        found.append(Period("month", length, tier.requests_per_month, tier.tokens_per_month, past))
    return found


def _last_minute(begin: Transaction, user_id: int, now: float) -> tuple[tuple[float, Used], ...]:
    rows = begin.execute(
        select(Usage.started, Usage.prompt_tokens + Usage.completion_tokens)
        .where(Usage.user_id == user_id, _counts(now - MINUTE))
        .order_by(Usage.started)
    )
    return tuple((started + MINUTE - now, Used(1, tokens)) for started, tokens in rows)


def used_since(begin: Transaction, user_id: int, since: float) -> Used:
    """What a user has used since a time; running answers count as what they may cost."""
    count, tokens = begin.execute(
        select(
            func.count(),
            func.coalesce(func.sum(Usage.prompt_tokens + Usage.completion_tokens), 0),
        ).where(Usage.user_id == user_id, _counts(since))
    ).one()
    return Used(int(count), int(tokens))


def _counts(since: float) -> ColumnElement[bool]:
    """What lies in the future, as after a clock was put back, does not count."""
    return Usage.started.between(since, time.time() + MINUTE)


def month_start(now: float) -> float:
    """The first second of this calendar month (UTC)."""
    return datetime.fromtimestamp(now, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    ).timestamp()  # fmt: skip


def next_month(now: float) -> float:
    """The first second of the next calendar month (UTC)."""
    return month_start(month_start(now) + 32 * 86_400.0)
