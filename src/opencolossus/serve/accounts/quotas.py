"""What users have used, and whether they may use more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session as Transaction

from opencolossus.serve.accounts.tables import Usage, User
from opencolossus.serve.accounts.tiers import TIERS, Tier
from opencolossus.specs.errors import UserError

MINUTE = 60.0


class QuotaExceededError(Exception):
    """The user has to wait ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Used:
    """Requests and tokens within a period."""

    requests: int
    tokens: int


def used_since(begin: Transaction, user_id: int, since: float) -> Used:
    """What a user has used since a time; running answers count as what they may cost.

    What lies in the future, as after a clock was put back, does not count.
    """
    count, tokens = begin.execute(
        select(
            func.count(),
            func.coalesce(func.sum(Usage.prompt_tokens + Usage.completion_tokens), 0),
        ).where(Usage.user_id == user_id, Usage.started.between(since, time.time() + MINUTE))
    ).one()
    return Used(int(count), int(tokens))


def _first_since(begin: Transaction, user_id: int, since: float) -> float:
    """When the first request of a period began; nothing is forgotten earlier than that."""
    first = begin.scalar(
        select(func.min(Usage.started)).where(Usage.user_id == user_id, Usage.started >= since)
    )
    return since if first is None else float(first)


def month_start(now: float) -> float:
    """The first second of this calendar month (UTC)."""
    return datetime.fromtimestamp(now, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    ).timestamp()  # fmt: skip


def next_month(now: float) -> float:
    """The first second of the next calendar month (UTC)."""
    return month_start(month_start(now) + 32 * 86_400.0)


def admit(begin: Transaction, user: User, model: str, prompt_tokens: int, most_tokens: int) -> int:
    """Record a request before it runs, at the most that it may cost, and give its number.

    The user's row is locked meanwhile, so that requests at the same time see each other.

    Raises:
        QuotaExceededError: the tier allows no more now.
        UserError: the tier never allows so much.
    """
    begin.execute(select(User.id).where(User.id == user.id).with_for_update())
    now = time.time()
    cost = prompt_tokens + most_tokens
    _check(begin, user, TIERS.get(user.tier, TIERS["free"]), cost, now)
    row = Usage(
        user_id=user.id,
        started=now,
        finished=None,
        model=model[:255],
        prompt_tokens=prompt_tokens,
        completion_tokens=most_tokens,
        outcome=None,
    )
    begin.add(row)
    begin.flush()
    return row.id


def _check(begin: Transaction, user: User, tier: Tier, cost: int, now: float) -> None:
    periods = (
        ("minute", now - MINUTE, MINUTE, tier.requests_per_minute, tier.tokens_per_minute),
        ("month", month_start(now), next_month(now) - now, tier.requests_per_month,
         tier.tokens_per_month),
    )  # fmt: skip
    for period, since, wait, requests, tokens in periods:
        if requests is None and tokens is None:
            continue
        if tokens is not None and cost > tokens:
            raise UserError(
                f"this request may take {cost} tokens and the {tier.name} tier allows {tokens} a "
                f"{period}; send less, or ask for less by max_tokens"
            )
        used = used_since(begin, user.id, since)
        if period == "minute" and used.requests:
            wait = max(_first_since(begin, user.id, since) - since, 1.0)
        if requests is not None and used.requests >= requests:
            raise QuotaExceededError(
                f"the {tier.name} tier allows {requests} requests a {period}, "
                f"and you have made {used.requests}",
                wait,
            )
        if tokens is not None and used.tokens + cost > tokens:
            raise QuotaExceededError(
                f"the {tier.name} tier allows {tokens} tokens a {period}; you have used "
                f"{used.tokens} and this request may take {cost}",
                wait,
            )


def record(
    begin: Transaction,
    user_id: int,
    model: str,
    started: float,
    prompt_tokens: int,
    completion_tokens: int,
    outcome: str,
) -> None:
    """Record a request that nothing had to be known of before it ran."""
    begin.execute(
        insert(Usage).values(
            user_id=user_id,
            started=started,
            finished=time.time(),
            model=model[:255],
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            outcome=outcome,
        )
    )


def settle(
    begin: Transaction, usage_id: int, prompt_tokens: int, completion_tokens: int, outcome: str
) -> None:
    """Replace what a request might have cost by what it did."""
    row = begin.get(Usage, usage_id)
    if row is not None:
        row.prompt_tokens = prompt_tokens
        row.completion_tokens = completion_tokens
        row.finished = time.time()
        row.outcome = outcome
