"""How OpenAI's and xAI's clients are told what is left of a user's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from opencolossus.serve.accounts.periods import Allowance


def headers(allowances: Mapping[str, Allowance]) -> dict[str, str]:
    """``x-ratelimit-limit-requests``, ``-remaining-requests``, ``-reset-requests``, and of tokens.

    Named as in OpenAI's guide "Rate limits". Kinds without a limit have no headers.
    """
    found = {}
    for kind, one in allowances.items():
        found[f"x-ratelimit-limit-{kind}"] = str(one.limit)
        found[f"x-ratelimit-remaining-{kind}"] = str(one.left)
        found[f"x-ratelimit-reset-{kind}"] = duration(one.reset)
    return found


def duration(seconds: float) -> str:
    """A time as OpenAI writes it, in whole seconds: ``59s``, ``6m0s``, ``312h0m5s``."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": False, "schema": schema}


DOCUMENTED = {
    f"x-ratelimit-{name}-{kind}": _header(text.format(kind=kind), **schema)
    for kind in ("requests", "tokens")
    for name, text, schema in (
        ("limit", "How many {kind} the tier allows, in the minute or the month, of which fewer are "
         "left", {"type": "integer"}),
        ("remaining", "How many {kind} are left; running answers count as what they may cost",
         {"type": "integer"}),
        ("reset", "Until all {kind} are there again, as in 59s or 6m0s", {"type": "string"}),
    )
}  # fmt: skip
"""For the OpenAPI document."""
RETRY_AFTER = _header("Seconds until the request can be sent again", type="integer", minimum=1)
