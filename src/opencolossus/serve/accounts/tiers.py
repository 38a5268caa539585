"""What a subscription entitles to."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.specs.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Tier:
    """Limits of one kind of subscription; None is no limit."""

    name: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_per_month: int | None
    tokens_per_month: int | None
    streams: int
    """Answers at the same time."""

    @property
    def limited(self) -> bool:
        """Whether it has to be known before a request what its user has used."""
        return (
            self.requests_per_minute,
            self.tokens_per_minute,
            self.requests_per_month,
            self.tokens_per_month,
        ) != (None, None, None, None)


TIERS = {
    tier.name: tier
    for tier in (
        Tier("free", 20, 20_000, 3_000, 1_000_000, streams=2),
        Tier("premium", 120, 200_000, 100_000, 50_000_000, streams=8),
        Tier("unlimited", None, None, None, None, streams=1_000),
    )
}


def tier(name: str) -> Tier:
    """A tier by name.

    Raises:
        UserError: there is no such tier.
    """
    if name not in TIERS:
        raise UserError(
            f"tier {name!r} does not exist{did_you_mean(name, TIERS)}; valid are {', '.join(TIERS)}"
        )
    return TIERS[name]
