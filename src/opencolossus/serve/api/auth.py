"""Who is asking: by API key, or by the cookie of a signed-in browser."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session

from opencolossus.serve.accounts import credentials, users
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Hub
from opencolossus.specs.errors import UserError

COOKIE = "colossus_session"
CSRF_HEADER = "x-csrf-token"
LOCAL_USER = "local"


def hub_of(request: Request) -> Hub:
    """The parts of the server that the request reached."""
    hub: Hub = request.app.state.hub
    return hub


SCHEME = HTTPBearer(auto_error=False, description="An API key: sk-...")


async def api_user(
    request: Request, _documented: Annotated[object, Security(SCHEME)] = None
) -> User:
    """The owner of the request's API key.

    Raises:
        ApiError: there is no valid key.
    """
    hub = hub_of(request)
    if not hub.options.accounts:
        return await local_user(hub)
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if kind.lower() != "bearer" or not secret:
        raise ApiError(
            401,
            "no API key; send Authorization: Bearer sk-..., from the page or from "
            "`colossus serve users key NAME`",
            code="invalid_api_key",
        )
    user, reason = await hub.read(lambda begin: credentials.user_of_key(begin, secret))
    if user is None:
        raise ApiError(401, reason, code="invalid_api_key")
    if credentials.use_is_old(secret):
        await hub.write(lambda begin: credentials.note_use(begin, secret))
    return user


async def local_user(hub: Hub) -> User:
    """The one user of a server without accounts; nobody can change or remove it meanwhile."""
    if hub.local_user is not None:
        return hub.local_user

    def find(begin: Session) -> User:
        try:
            return users.find(begin, LOCAL_USER)
        except UserError:
            return users.add(begin, LOCAL_USER, None, "unlimited")

    hub.local_user = await hub.write(find)
    return hub.local_user


def session_secret(request: Request) -> str | None:
    """What the browser shows to be signed in."""
    hub = hub_of(request)
    return request.cookies.get(COOKIE) if hub.options.accounts else hub.local_secret


async def page_user(request: Request) -> User:
    """Who is signed in; a request that changes something must come from our own page.

    Raises:
        ApiError: nobody is signed in, or the request was made by another site.
    """
    hub = hub_of(request)
    secret = session_secret(request)
    if request.method not in ("GET", "HEAD"):
        check_origin(request)
    if not secret:
        raise ApiError(401, "you are not signed in", code="not_signed_in")
    if not hub.options.accounts:
        user: User | None = await local_user(hub)
    else:
        user = await hub.read(lambda begin: credentials.user_of_session(begin, secret))
    if user is None:
        raise ApiError(401, "you are not signed in any more", code="not_signed_in")
    if request.method not in ("GET", "HEAD"):
        sent = request.headers.get(CSRF_HEADER, "")
        if not credentials.same(sent, credentials.csrf_token(secret)):
            raise ApiError(403, "the request did not come from this page", code="csrf")
    return user


def check_origin(request: Request) -> None:
    """Refuse what another site's page sent.

    Raises:
        ApiError: it did.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = site not in (None, "same-origin", "none")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        foreign = True
    if foreign:
        raise ApiError(403, "the request came from another site", code="csrf")
