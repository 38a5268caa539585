"""From interruptions to seconds by use, and from seconds to tokens up to the goal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencolossus.faults.process import HOUR, Strikes
from opencolossus.faults.timeline import Account, Interruptions, account
from opencolossus.twin.epochs import Epochs
from opencolossus.twin.interruptions import GROUPS, Struck

Array = NDArray[np.float64]


def account_of(hours: int, epochs: Epochs, stops: Interruptions) -> tuple[Account, Array]:
    """Seconds of each hour by use, and those before the job starts."""
    active = np.flatnonzero(epochs.by_hour("rate") > 0)
    first = int(active[0]) if active.size else hours
    waiting = np.where(np.arange(hours) < first, HOUR, 0.0)
    if first == hours:
        none = np.zeros(hours)
        return Account(none, none, none, np.zeros((len(GROUPS), hours))), waiting
    part = account(stops, np.arange(first, hours + 1, dtype=float) * HOUR, len(GROUPS))
    pad = np.zeros(first)
    return Account(
        work=np.concatenate([pad, part.work]),
        checkpoint=np.concatenate([pad, part.checkpoint]),
        rework=np.concatenate([pad, part.rework]),
        down=np.concatenate([np.zeros((len(GROUPS), first)), part.down], axis=1),
    ), waiting


def until_done(
    goal: float, shares: Account, waiting: Array, rate: Array
) -> tuple[Array, Account, Array]:
    """Tokens by hour up to the run's goal; time after it counts as waiting."""
    tokens = shares.work * rate
    before = np.concatenate([[0.0], np.cumsum(tokens)[:-1]])
    left = np.clip(goal - before, 0.0, None)
    share = np.divide(np.minimum(tokens, left), tokens, out=np.ones(tokens.size), where=tokens > 0)
    share = np.where(left <= 0, 0.0, share)
    kept = Account(
        shares.work * share, shares.checkpoint * share, shares.rework * share, shares.down * share
    )
    used = kept.work + kept.checkpoint + kept.rework + kept.down.sum(axis=0)
    return tokens * share, kept, np.where(share < 1, HOUR - used, waiting)


def while_running(struck: Struck, waiting: Array) -> Struck:
    """Leave out what breaks in hours without the job: after the last token nobody follows it."""
    hour = np.minimum((struck.strikes.time / HOUR).astype(int), waiting.size - 1)
    kept = waiting[hour] < HOUR
    strikes = Strikes(struck.strikes.time[kept], struck.strikes.cause[kept])
    return Struck(strikes, struck.back[kept], struck.out * (waiting < HOUR))
