"""API keys and sessions: secrets that are shown once and stored as digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as Transaction

from opencolossus.serve.accounts.tables import ApiKey, Session, User
from opencolossus.specs.errors import UserError

KEY_PREFIX = "sk-"
SESSION_LIFE = 14 * 86_400.0
KEYS_PER_USER = 50
USED_EVERY = 60.0
"""Seconds between two notes of a key's last use; a write per request would be too many."""


def digest(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(begin: Transaction, user: User, name: str, expires: float | None) -> tuple[str, ApiKey]:
    """Make an API key; the secret is given here and never again.

    Raises:
        UserError: the user has too many keys, or the name is not valid.
    """
    name = name.strip()
    if not 1 <= len(name) <= 64:
        raise UserError(f"the name of a key has 1 to 64 characters, this one has {len(name)}")
    if len(keys(begin, user)) >= KEYS_PER_USER:
        raise UserError(f"a user has at most {KEYS_PER_USER} keys; delete one first")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        user_id=user.id,
        name=name,
        hint=secret[:8],
        digest=digest(secret),
        created=time.time(),
        expires=expires,
        used=None,
    )
    begin.add(key)
    begin.flush()
    return secret, key


def keys(begin: Transaction, user: User) -> list[ApiKey]:
    """The keys of a user, oldest first."""
    return list(begin.scalars(select(ApiKey).where(ApiKey.user_id == user.id).order_by(ApiKey.id)))


def remove_key(begin: Transaction, user: User, key_id: int) -> bool:
    """Delete a key of this user; False if this user has no such key."""
    found = begin.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user.id))
    if found is None:
        return False
    begin.delete(found)
    return True


def user_of_key(begin: Transaction, secret: str) -> tuple[User | None, str]:
    """Whose key this is, or why it is nobody's."""
    row = begin.execute(
        select(ApiKey, User).join(User).where(ApiKey.digest == digest(secret))
    ).first()
    if row is None:
        return None, "the API key is not valid"
    key, user = row
    now = time.time()
    if key.expires is not None and key.expires <= now:
        return None, "the API key has expired"
    if user.disabled:
        return None, "the account is disabled"
    return user, ""


_noted: dict[str, float] = {}


def use_is_old(secret: str) -> bool:
    """Whether the last use of a key should be noted again; true once a minute."""
    now = time.monotonic()
    known = digest(secret)
    if now - _noted.get(known, -USED_EVERY) < USED_EVERY:
        return False
    if len(_noted) > 10_000:
        _noted.clear()
    _noted[known] = now
    return True


def note_use(begin: Transaction, secret: str) -> None:
    """Note that a key was used now."""
    begin.execute(update(ApiKey).where(ApiKey.digest == digest(secret)).values(used=time.time()))


def new_session(begin: Transaction, user: User) -> str:
    """Sign a browser in; the secret goes into its cookie."""
    now = time.time()
    begin.execute(delete(Session).where(Session.expires <= now))
    secret = secrets.token_urlsafe(32)
    begin.add(
        Session(digest=digest(secret), user_id=user.id, created=now, expires=now + SESSION_LIFE)
    )
    return secret


def user_of_session(begin: Transaction, secret: str) -> User | None:
    """Who is signed in with this cookie, if anybody."""
    found = begin.execute(
        select(Session, User).join(User).where(Session.digest == digest(secret))
    ).first()
    if found is None or found[0].expires <= time.time() or found[1].disabled:
        return None
    user: User = found[1]
    return user


def end_session(begin: Transaction, secret: str) -> None:
    """Sign a browser out."""
    begin.execute(delete(Session).where(Session.digest == digest(secret)))


def csrf_token(session_secret: str) -> str:
    """What a page must send with every change: known to who can read the session's own pages."""
    return hmac.new(session_secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Comparison that takes equally long wherever the first difference is."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))
