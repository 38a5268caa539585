"""Whether users may use more, and the record of what they have used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session as Transaction

from opencolossus.serve.accounts.periods import Allowance, Period, periods_of, tightest
from opencolossus.serve.accounts.tables import Usage, User
from opencolossus.serve.accounts.tiers import TIERS
from opencolossus.specs.errors import UserError


class QuotaExceededError(Exception):
    """The user has to wait ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float, allowances: dict[str, Allowance]) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.allowances = allowances


@dataclass(frozen=True)
class Admission:
    """A request that may run."""

    usage: int
    """Number of the record that holds the most that it may cost."""
    allowances: dict[str, Allowance]
    """What is left of requests and tokens, this one counted."""
    before: dict[str, Allowance]
    """What is left if the server has no room for it."""


def admit(
    begin: Transaction, user: User, model: str, prompt_tokens: int, most_tokens: int
) -> Admission:
    """Record a request before it runs, at the most that it may cost.

    The user's row is locked meanwhile, so that requests at the same time see each other.

    Raises:
        QuotaExceededError: the tier allows no more now.
        UserError: the tier never allows so much.
    """
    begin.execute(select(User.id).where(User.id == user.id).with_for_update())
    now = time.time()
    cost = prompt_tokens + most_tokens
    tier = TIERS.get(user.tier, TIERS["free"])
    periods = periods_of(begin, user.id, tier, now)
    _check(tier.name, periods, cost)
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
    after = [period.after(cost) for period in periods]
    return Admission(row.id, tightest(after), tightest(periods))


def _check(tier: str, periods: Sequence[Period], cost: int) -> None:
    for period in periods:
        if period.tokens is not None and cost > period.tokens:
            raise UserError(
                f"this request may take {cost} tokens and the {tier} tier allows {period.tokens} a "
                f"{period.name}; send less, or ask for less by max_tokens"
            )
    # Where both refuse, it is the month that has to be waited for.
    last = max(periods, key=lambda period: period.wait(cost), default=None)
    if last is not None and last.wait(cost):
        raise QuotaExceededError(_reason(tier, last, cost), last.wait(cost), tightest(periods))


def _reason(tier: str, period: Period, cost: int) -> str:
    used = period.used
    if period.refuses(used, cost) == "requests":
        return (
            f"the {tier} tier allows {period.requests} requests a {period.name}, "
            f"and you have made {used.requests}"
        )
    return (
        f"the {tier} tier allows {period.tokens} tokens a {period.name}; you have used "
        f"{used.tokens} and this request may take {cost}"
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


def forget(begin: Transaction, usage_id: int) -> None:
    """Undo an admission."""
    begin.execute(delete(Usage).where(Usage.id == usage_id))


def settle_lost(begin: Transaction) -> None:
    """Settle what a server that was killed has left open: prompts count, answers do not.

    Where another server on this database still answers one of these, it settles it again, at what
    it took.
    """
    begin.execute(
        update(Usage)
        .where(Usage.finished.is_(None))
        .values(completion_tokens=0, finished=time.time(), outcome="error")
    )
