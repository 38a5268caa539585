"""Every route of the page, found by asking the application, against those it is not for."""

from __future__ import annotations

from contextlib import closing

import httpx
import pytest
from fastapi.routing import APIRoute
from servers import PASSWORD, Server

from opencolossus.serve.api import accounts, keys, talks
from opencolossus.serve.api.auth import COOKIE

OPEN = {"/app/me", "/app/sign-in", "/app/sign-up"}
SECRET = "what only ann may know"


def routes() -> list[tuple[str, str]]:
    """Method and path of all that asks who is there."""
    found = [
        (method, route.path)
        for router in (accounts.router, keys.router, talks.router)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    ]
    return [(method, path) for method, path in found if path not in OPEN]


@pytest.fixture
def anns(server: Server) -> dict[str, str]:
    """What stands in the paths of Ann's things."""
    server.add_user("ann")
    with closing(server.browser("ann")) as ann:
        talk = ann.post("/app/conversations", json={"system": SECRET}).json()["id"]
        key = ann.post("/app/keys", json={"name": SECRET[:20]}).json()["id"]
        ann.post(f"/app/conversations/{talk}/answer", json={"content": SECRET})
    return {"{talk_id}": str(talk), "{key_id}": str(key)}


def fill(path: str, things: dict[str, str]) -> str:
    for name, value in things.items():
        path = path.replace(name, value)
    assert "{" not in path, path
    return path


BODIES: tuple[dict[str, object] | None, ...] = (None, {}, {"title": "mine"}, {"content": "hello"})


def test_there_are_routes_to_try() -> None:
    assert len(routes()) >= 12


def test_who_is_not_signed_in_gets_nothing(server: Server, anns: dict[str, str]) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as nobody:
        for method, path in routes():
            for body in BODIES:
                found = nobody.request(method, fill(path, anns), json=body)
                assert found.status_code in (400, 401), (method, path, found.text)
                assert SECRET not in found.text


def test_another_user_sees_and_changes_nothing(server: Server, anns: dict[str, str]) -> None:
    server.add_user("bob")
    with closing(server.browser("bob")) as bob:
        for method, path in routes():
            if path in ("/app/leave", "/app/sign-out"):
                continue
            for body in BODIES:
                found = bob.request(method, fill(path, anns), json=body)
                assert SECRET not in found.text, (method, path)
                if "{" in path:
                    assert found.status_code in (400, 404), (method, path, found.text)
    with closing(server.browser("ann")) as ann:
        talk = ann.get(f"/app/conversations/{anns['{talk_id}']}").json()
        assert talk["system"] == SECRET
        assert [turn["role"] for turn in talk["messages"]] == ["user", "assistant"]
        assert len(ann.get("/app/keys").json()) == 2  # the one of the test's own, and this one


def test_nothing_is_changed_without_the_pages_own_token(
    server: Server, anns: dict[str, str]
) -> None:
    with closing(server.browser("ann")) as ann:
        for headers in ({"X-CSRF-Token": ""}, {"X-CSRF-Token": "f" * 64}):
            for method, path in routes():
                if method == "GET":
                    continue
                for body in BODIES:
                    found = ann.request(method, fill(path, anns), json=body, headers=headers)
                    assert found.status_code in (400, 403), (method, path, found.text)
        assert ann.get(f"/app/conversations/{anns['{talk_id}']}").status_code == 200


def test_a_cookie_from_before_signing_in_is_not_taken_over(server: Server) -> None:
    server.add_user("ann")
    planted = "planted-by-somebody-else"
    with httpx.Client(base_url=server.url, cookies={COOKIE: planted}, timeout=30) as browser:
        done = browser.post("/app/sign-in", json={"name": "ann", "password": PASSWORD})
        given = done.cookies[COOKIE]
    assert given != planted
    for secret, name in ((planted, None), (given, "ann")):
        me = httpx.get(f"{server.url}/app/me", cookies={COOKIE: secret}).json()
        assert (me["user"] or {}).get("name") == name
