"""The page's routes for what an account has: API keys, usage."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from opencolossus.serve.accounts import credentials, periods
from opencolossus.serve.accounts.tiers import TIERS
from opencolossus.serve.api.accounts import SignedIn, Strict
from opencolossus.serve.api.auth import hub_of
from opencolossus.serve.api.errors import ApiError

router = APIRouter(prefix="/app", include_in_schema=False)


class NewKey(Strict):
    """A key to make."""

    name: str = Field(max_length=200)
    days: Annotated[int, Field(ge=1, le=3650)] | None = None
    """Until it expires; never if left out."""


@router.get("/keys")
async def list_keys(request: Request, user: SignedIn) -> list[dict[str, Any]]:
    """The user's API keys, without their secrets."""
    found = await hub_of(request).read(lambda begin: credentials.keys(begin, user))
    return [
        {
            "id": key.id,
            "name": key.name,
            "hint": key.hint,
            "created": key.created,
            "expires": key.expires,
            "used": key.used,
        }
        for key in found
    ]


@router.post("/keys")
async def make_key(request: Request, body: NewKey, user: SignedIn) -> dict[str, Any]:
    """Make an API key; its secret is in this answer and nowhere else."""
    expires = None if body.days is None else time.time() + body.days * 86_400.0
    secret, key = await hub_of(request).write(
        lambda begin: credentials.new_key(begin, user, body.name, expires)
    )
    return {"id": key.id, "name": key.name, "hint": key.hint, "secret": secret}


@router.delete("/keys/{key_id}")
async def delete_key(request: Request, key_id: int, user: SignedIn) -> dict[str, Any]:
    """Delete an API key; it is not valid from now on."""
    if not 0 < key_id < 2**63 or not await hub_of(request).write(
        lambda begin: credentials.remove_key(begin, user, key_id)
    ):
        raise ApiError(404, "you have no such key")
    return {}


@router.get("/usage")
async def usage(request: Request, user: SignedIn) -> dict[str, Any]:
    """What the user has used this minute and month, and may use."""
    now = time.time()
    tier = TIERS.get(user.tier, TIERS["free"])
    minute, month = await hub_of(request).read(
        lambda begin: (
            periods.used_since(begin, user.id, now - periods.MINUTE),
            periods.used_since(begin, user.id, periods.month_start(now)),
        )
    )
    return {
        "tier": tier.name,
        "streams": tier.streams,
        "minute": {
            "requests": [minute.requests, tier.requests_per_minute],
            "tokens": [minute.tokens, tier.tokens_per_minute],
        },
        "month": {
            "requests": [month.requests, tier.requests_per_month],
            "tokens": [month.tokens, tier.tokens_per_month],
        },
    }
