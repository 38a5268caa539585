"""The page's routes for accounts: signing up, in and out, keys, usage, leaving."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from opencolossus.serve.accounts import credentials, users
from opencolossus.serve.accounts.tables import User
from opencolossus.serve.api.auth import (
    COOKIE,
    check_origin,
    hub_of,
    page_user,
    session_secret,
)
from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.limits import Attempts

router = APIRouter(prefix="/app", include_in_schema=False)
SignedIn = Annotated[User, Depends(page_user)]


class Strict(BaseModel):
    """Nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Credentials(Strict):
    """A name and a password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=10_000)


class Password(Strict):
    """A password alone."""

    password: str = Field(max_length=10_000)


class NewPassword(Password):
    """The password and the one that takes its place."""

    new_password: str = Field(max_length=10_000)


class Doors:
    """Attempts at the doors of one server."""

    def __init__(self) -> None:
        self.pair = Attempts(10, 300)
        """Wrong passwords for a name from an address."""
        self.address = Attempts(50, 300)
        self.name = Attempts(100, 300)
        self.sign_up = Attempts(20, 3600)


def _address(request: Request) -> str:
    return request.client.host if request.client else "?"


def _doors(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


def _needs_accounts(hub: Hub) -> None:
    if not hub.options.accounts:
        raise ApiError(400, "this server runs without accounts; there is nothing to sign in to")


@router.get("/me")
async def me(request: Request) -> dict[str, Any]:
    """What the page has to know before it shows anything."""
    hub = hub_of(request)
    known: dict[str, Any] = {
        "model": hub.model,
        "title": hub.title,
        "accounts": hub.options.accounts,
        "sign_up": hub.options.accounts and hub.options.sign_up,
        "context": hub.engine.context,
        "user": None,
    }
    try:
        user = await page_user(request)
    except ApiError as error:
        if error.status != 401:
            raise
        return known
    secret = session_secret(request) or ""
    known["user"] = {"name": user.name, "tier": user.tier}
    known["csrf"] = credentials.csrf_token(secret)
    return known


@router.post("/sign-up")
async def sign_up(request: Request, body: Credentials) -> Response:
    """Make an account and sign in."""
    hub = hub_of(request)
    check_origin(request)
    _needs_accounts(hub)
    if not hub.options.sign_up:
        raise ApiError(403, "accounts are made by the people who run this server; ask them")
    doors, address = _doors(request), _address(request)
    doors.sign_up.check(address)
    users.clean_name(body.name)
    stored = await run_in_threadpool(users.hash_password, body.password)
    doors.sign_up.note(address)

    def add(begin: Session) -> str:
        user = users.add(begin, body.name, stored, hub.options.new_user_tier)
        return credentials.new_session(begin, user)

    try:
        secret = await hub.write(add)
    except users.NameTakenError as error:
        raise ApiError(409, str(error), param="name") from None
    return _with_cookie(hub, secret)


@router.post("/sign-in")
async def sign_in(request: Request, body: Credentials) -> Response:
    """Sign in."""
    hub = hub_of(request)
    check_origin(request)
    _needs_accounts(hub)
    doors, address = _doors(request), _address(request)
    name = users.same_name(body.name)[:64]
    gates = ((doors.pair, f"{address} {name}"), (doors.address, address), (doors.name, name))
    for gate, key in gates:
        gate.check(key)
    for gate, key in gates:
        gate.note(key)

    def find(begin: Session) -> User | None:
        return begin.scalar(select(User).where(User.name == name))

    user = await hub.read(find)
    stored = user.password if user else None
    right = await run_in_threadpool(users.check_password, stored, body.password)
    if user is None or not right:
        raise ApiError(401, "the name or the password is wrong", code="wrong_credentials")
    if user.disabled:
        raise ApiError(403, "this account is disabled; ask the people who run this server")
    doors.pair.forget(f"{address} {name}")
    doors.name.forget(name)
    secret = await hub.write(lambda begin: credentials.new_session(begin, user))
    return _with_cookie(hub, secret)


def _with_cookie(hub: Hub, secret: str) -> Response:
    response = JSONResponse({"csrf": credentials.csrf_token(secret)})
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(credentials.SESSION_LIFE),
        httponly=True,
        samesite="strict",
        secure=hub.options.secure_cookies,
        path="/",
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request, _user: SignedIn) -> Response:
    """End this browser's session."""
    hub = hub_of(request)
    secret = request.cookies.get(COOKIE, "")
    await hub.write(lambda begin: credentials.end_session(begin, secret))
    response = JSONResponse({})
    response.delete_cookie(COOKIE, path="/")
    return response


@router.post("/password")
async def change_password(request: Request, body: NewPassword, user: SignedIn) -> Response:
    """Change the password; every other session ends."""
    hub = hub_of(request)
    _needs_accounts(hub)
    await _confirm(request, user, body.password)
    stored = await run_in_threadpool(users.hash_password, body.new_password)

    def change(begin: Session) -> str:
        mine = begin.get_one(User, user.id)
        mine.password = stored
        users.sign_out_everywhere(begin, mine)
        return credentials.new_session(begin, mine)

    return _with_cookie(hub, await hub.write(change))


@router.post("/leave")
async def leave(request: Request, body: Password, user: SignedIn) -> Response:
    """Delete the account and all that is in it."""
    hub = hub_of(request)
    _needs_accounts(hub)
    await _confirm(request, user, body.password)
    await hub.erase(lambda begin: users.remove(begin, begin.get_one(User, user.id)))
    response = JSONResponse({})
    response.delete_cookie(COOKIE, path="/")
    return response


async def _confirm(request: Request, user: User, password: str) -> None:
    gate, key = _doors(request).name, f"confirm {user.name}"
    gate.check(key)
    gate.note(key)
    if not await run_in_threadpool(users.check_password, user.password, password):
        raise ApiError(403, "the password is wrong", code="wrong_credentials")
