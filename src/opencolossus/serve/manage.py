"""Managing users from the command line."""

from __future__ import annotations

import getpass
import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from opencolossus.serve.accounts import credentials, users
from opencolossus.serve.accounts.database import Database
from opencolossus.serve.accounts.tiers import TIERS, tier
from opencolossus.specs.errors import UserError


def add(url: str, name: str, tier_name: str, with_password: bool) -> str:
    """Add a user; gives what to tell the person at the terminal.

    Raises:
        UserError: the name, tier or password is not valid, or the name is taken.
    """
    users.clean_name(name)
    tier(tier_name)
    stored = users.hash_password(ask_password()) if with_password else None
    with Database(url).begin() as begin:
        user = users.add(begin, name, stored, tier_name)
        return f"added {user.name} ({user.tier})"


def ask_password() -> str:
    """A password typed twice, or one line from a pipe.

    Raises:
        UserError: the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise UserError("the two passwords differ; try again")
    return first


def key(url: str, name: str, key_name: str, days: int | None) -> str:
    """Make an API key; gives its secret."""
    expires = None if days is None else time.time() + days * 86_400.0
    with Database(url).begin() as begin:
        secret, _ = credentials.new_key(begin, users.find(begin, name), key_name, expires)
    return secret


def change(
    url: str, name: str, tier_name: str | None, disabled: bool | None, new_password: bool
) -> str:
    """Change a user; gives what was done.

    Raises:
        UserError: there is no such user or tier, or nothing to change was given.
    """
    if tier_name is None and disabled is None and not new_password:
        raise UserError("nothing to change: give --tier, --disable, --enable or --password")
    stored = users.hash_password(ask_password()) if new_password else None
    with Database(url).begin() as begin:
        user = users.find(begin, name)
        if tier_name is not None:
            user.tier = tier(tier_name).name
        if disabled is not None:
            user.disabled = disabled
        if stored is not None:
            user.password = stored
        if disabled or stored is not None:
            users.sign_out_everywhere(begin, user)
        return f"{user.name} is {'disabled' if user.disabled else 'enabled'}, tier {user.tier}"


def remove(url: str, name: str) -> str:
    """Delete a user with keys, conversations and usage; gives what was done."""
    database = Database(url)
    with database.begin() as begin:
        user = users.find(begin, name)
        users.remove(begin, user)
    database.wipe()
    return f"removed {user.name}, with their keys, conversations and usage"


def show(url: str, console: Console) -> None:
    """Print all users."""
    table = Table("user", "tier", "state", "since", "keys", "conversations", "tokens")
    with Database(url).read() as begin:
        for user, keys, talks, tokens in users.everyone(begin):
            since = datetime.fromtimestamp(user.created, UTC).date().isoformat()
            state = "disabled" if user.disabled else "enabled"
            table.add_row(user.name, user.tier, state, since, str(keys), str(talks), f"{tokens:,}")
    console.print(table)


def tiers(console: Console) -> None:
    """Print what the tiers allow."""
    table = Table("tier", "requests/min", "tokens/min", "requests/month", "tokens/month", "at once")
    for one in TIERS.values():
        limits = (
            one.requests_per_minute, one.tokens_per_minute,
            one.requests_per_month, one.tokens_per_month,
        )  # fmt: skip
        table.add_row(
            one.name, *("no limit" if n is None else f"{n:,}" for n in limits), str(one.streams)
        )
    console.print(table)
