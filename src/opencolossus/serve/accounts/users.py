"""Users and their passwords."""

from __future__ import annotations

import re
import threading
import time
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from opencolossus.serve.accounts.tables import ApiKey, Conversation, Session, Usage, User
from opencolossus.serve.accounts.tiers import tier
from opencolossus.specs.errors import UserError

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{1,63}")
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 256

_HASHER = PasswordHasher()
# A hash takes 64 MiB while it is computed; more than a few at once would be an attack in itself.
_HASHING = threading.Semaphore(4)
# Checked when there is no such user, so that the answer takes as long as for one who exists.
_NOBODY = _HASHER.hash("nobody has this password")


class NameTakenError(UserError):
    """Another user has this name."""


def same_name(name: str) -> str:
    """What ways to write a name have in common."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def clean_name(name: str) -> str:
    """The name as it is stored.

    Raises:
        UserError: it has characters that a name cannot have.
    """
    cleaned = same_name(name)
    if not NAME.fullmatch(cleaned):
        raise UserError(
            f"user name {name[:64]!r} is not valid: 2 to 64 of a-z, 0-9 and . _ @ + -, "
            "beginning with a letter or digit"
        )
    return cleaned


def hash_password(password: str) -> str:
    """An Argon2id hash.

    Raises:
        UserError: the password is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, "
            f"this one has {len(password)}"
        )
    with _HASHING:
        return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


def add(begin: Transaction, name: str, password_hash: str | None, tier_name: str) -> User:
    """Add a user.

    Raises:
        NameTakenError: the name is taken.
        UserError: the name or the tier is not valid.
    """
    user = User(
        name=clean_name(name),
        password=password_hash,
        tier=tier(tier_name).name,
        disabled=False,
        created=time.time(),
    )
    begin.add(user)
    try:
        begin.flush()
    except IntegrityError:
        raise NameTakenError(f"user name {user.name!r} is taken; choose another") from None
    return user


def find(begin: Transaction, name: str) -> User:
    """A user by name.

    Raises:
        UserError: there is none.
    """
    user = begin.scalar(select(User).where(User.name == clean_name(name)))
    if user is None:
        raise UserError(f"user {name!r} does not exist; `colossus serve users list` shows who does")
    return user


def check_password(stored: str | None, password: str) -> bool:
    """Whether the password is right; takes as long for nobody as for somebody."""
    with _HASHING:
        try:
            right = _HASHER.verify(stored or _NOBODY, password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False
    return right and stored is not None


def remove(begin: Transaction, user: User) -> None:
    """Delete a user and all that is theirs."""
    begin.delete(user)


def sign_out_everywhere(begin: Transaction, user: User) -> None:
    """End all sessions of a user."""
    begin.execute(delete(Session).where(Session.user_id == user.id))


def everyone(begin: Transaction) -> list[tuple[User, int, int, int]]:
    """All users by name, with their API keys, conversations and tokens of all time."""
    keys = select(func.count()).where(ApiKey.user_id == User.id).scalar_subquery()
    talks = select(func.count()).where(Conversation.user_id == User.id).scalar_subquery()
    tokens = (
        select(func.coalesce(func.sum(Usage.prompt_tokens + Usage.completion_tokens), 0))
        .where(Usage.user_id == User.id)
        .scalar_subquery()
    )
    rows = begin.execute(select(User, keys, talks, tokens).order_by(User.name))
    return [(user, int(k), int(c), int(t)) for user, k, c, t in rows]
