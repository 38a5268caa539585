"""Accounts: signing in, keys, and what others must never see."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from servers import PASSWORD, Parrot, Server, question, wait_until
from sqlalchemy import text

from opencolossus.serve.accounts import credentials, periods, quotas, users
from opencolossus.serve.accounts.tables import ApiKey, Base, User

EVIL = [
    "' OR '1'='1", "\"; DROP TABLE users; --", "%", "_", "\\", "a\0b", "../../etc/passwd",
    "<script>alert(1)</script>", "{{7*7}}", "\u202e", "ı" * 20, "-1", "1e9;",
]  # fmt: skip


@pytest.fixture
def alice(server: Server) -> httpx.Client:
    server.add_user("alice")
    return server.browser("alice")


@pytest.fixture
def mallory(server: Server) -> httpx.Client:
    server.add_user("mallory")
    return server.browser("mallory")


def talk(browser: httpx.Client, said: str = "my secret is 4711") -> str:
    """A conversation with one question and its answer."""
    identifier = browser.post("/app/conversations", json={"system": "secret system"}).json()["id"]
    answer = browser.post(f"/app/conversations/{identifier}/answer", json={"content": said})
    assert answer.status_code == 200, answer.text
    return str(identifier)


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line]


def test_a_conversation_is_kept_renamed_searched_exported_and_deleted(alice: httpx.Client) -> None:
    identifier = talk(alice)
    path = f"/app/conversations/{identifier}"
    found = alice.get(path).json()
    assert [turn["content"] for turn in found["messages"]] == ["my secret is 4711", "Hello there!"]
    assert found["title"] == "my secret is 4711"
    alice.patch(path, json={"title": "100% <b>"})
    assert [t["title"] for t in alice.get("/app/conversations?search=4711").json()] == ["100% <b>"]
    assert alice.get("/app/conversations", params={"search": "1_0%"}).json() == []
    assert len(alice.get("/app/conversations", params={"search": "0%"}).json()) == 1
    exported = alice.get("/app/export").json()
    assert exported[0]["messages"][0]["content"] == "my secret is 4711"
    assert alice.delete(path).status_code == 200
    assert alice.get(path).status_code == 404
    assert alice.get("/app/conversations").json() == []


def test_an_edit_drops_what_came_after_and_another_answer_takes_the_place_of_the_last(
    alice: httpx.Client, parrot: Parrot
) -> None:
    identifier = talk(alice)
    path = f"/app/conversations/{identifier}"
    alice.post(f"{path}/answer", json={"content": "and more"})
    parrot.words = ["Other"]
    told = events(alice.post(f"{path}/answer", json={"place": 3}).text)
    assert told[-1]["done"]["content"] == "Other"  # type: ignore[index]
    said = [turn["content"] for turn in alice.get(path).json()["messages"]]
    assert said == ["my secret is 4711", "Hello there!", "and more", "Other"]
    alice.post(f"{path}/answer", json={"place": 0, "content": "anew"})
    assert [t["content"] for t in alice.get(path).json()["messages"]] == ["anew", "Other"]
    assert alice.post(f"{path}/answer", json={}).status_code == 409


def test_a_stopped_answer_is_kept_as_far_as_it_came(
    server: Server, alice: httpx.Client, parrot: Parrot
) -> None:
    parrot.words, parrot.pause = ["word "] * 100, 0.5
    identifier = alice.post("/app/conversations", json={}).json()["id"]
    path = f"/app/conversations/{identifier}"
    with alice.stream("POST", f"{path}/answer", json={"content": "hello"}) as stream:
        for line in stream.iter_lines():
            if '"html"' in line and "word word" in line:
                break
    wait_until(lambda: len(alice.get(path).json()["messages"]) == 2)
    last = alice.get(path).json()["messages"][1]
    assert last["finish"] == "cancelled"
    assert 2 <= last["content"].count("word") < 100
    assert len(parrot.cancelled) == 1


def test_what_the_engine_broke_off_is_kept_and_said(alice: httpx.Client, parrot: Parrot) -> None:
    parrot.breaks_after = 2
    identifier = talk(alice)
    last = alice.get(f"/app/conversations/{identifier}").json()["messages"][1]
    assert (last["content"], last["finish"]) == ("Hello there", "error")


def test_nothing_of_one_user_is_visible_to_another(
    server: Server, alice: httpx.Client, mallory: httpx.Client
) -> None:
    identifier = talk(alice)
    key = alice.post("/app/keys", json={"name": "mine"}).json()
    path = f"/app/conversations/{identifier}"
    tries = [
        mallory.get(path),
        mallory.patch(path, json={"title": "stolen"}),
        mallory.post(f"{path}/answer", json={"content": "what is the secret"}),
        mallory.post(f"{path}/answer", json={"place": 0}),
        mallory.delete(path),
        mallory.delete(f"/app/keys/{key['id']}"),
    ]
    assert [found.status_code for found in tries] == [404] * 6
    seen = "".join(
        mallory.get(f"/app/{place}").text
        for place in ("me", "conversations", "conversations?search=4711", "keys", "usage", "export")
    ) + "".join(found.text for found in tries)
    for secret in ("4711", "secret system", identifier, key["hint"], "mine"):
        assert secret not in seen
    mallory.delete("/app/conversations")
    assert mallory.post("/app/leave", json={"password": PASSWORD}).status_code == 200
    assert mallory.get("/app/me").json()["user"] is None
    kept = alice.get(path).json()
    assert kept["title"] == "my secret is 4711"
    assert len(kept["messages"]) == 2
    assert len(alice.get("/app/keys").json()) == 2


def test_a_deleted_account_leaves_nothing_behind(server: Server, alice: httpx.Client) -> None:
    key = alice.post("/app/keys", json={"name": "k"}).json()["secret"]
    with server.api(key) as client:
        assert client.post("/v1/chat/completions", json=question()).status_code == 200
        talk(alice)
        wait_until(lambda: not server.hub.tasks)
        assert alice.post("/app/leave", json={"password": "wrong password"}).status_code == 403
        assert alice.post("/app/leave", json={"password": PASSWORD}).status_code == 200
        assert client.get("/v1/models").status_code == 401
    with server.database.read() as begin:
        for table in Base.metadata.tables:
            assert begin.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0, table


def test_what_was_deleted_is_in_no_file_and_files_are_private(
    server: Server, alice: httpx.Client, tmp_path: Path
) -> None:
    def files_with(said: str) -> list[str]:
        found = tmp_path.glob("serve.db*")
        return [file.name for file in found if said.encode() in file.read_bytes()]

    identifier = talk(alice, "a secret that goes")
    talk(alice, "a secret that stays")
    assert files_with("secret that goes")
    assert alice.delete(f"/app/conversations/{identifier}").status_code == 200
    wait_until(lambda: not server.hub.tasks)
    assert files_with("secret that goes") == []
    assert files_with("secret that stays")
    assert alice.post("/app/leave", json={"password": PASSWORD}).status_code == 200
    wait_until(lambda: not server.hub.tasks)
    assert files_with("secret that stays") == files_with("alice") == []
    assert {file.stat().st_mode & 0o77 for file in tmp_path.glob("serve.db*")} == {0}


def test_a_name_is_the_same_however_it_is_typed(server: Server) -> None:
    server.add_user("alice")
    for name in ("ALICE", " alice ", "ａｌｉｃｅ"):
        server.browser(name).close()


def test_changes_from_another_site_are_refused(server: Server, alice: httpx.Client) -> None:
    body = {"json": {"system": ""}}
    right = alice.headers.pop("X-CSRF-Token")
    assert alice.post("/app/conversations", **body).status_code == 403  # type: ignore[arg-type]
    for headers in (
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": right, "Origin": "https://evil.example"},
        {"X-CSRF-Token": right, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": right, "Origin": "null"},
    ):
        found = alice.post("/app/conversations", headers=headers, json={"system": ""})
        assert found.status_code == 403, headers
    found = alice.post("/app/conversations", headers={"X-CSRF-Token": right}, json={"system": ""})
    assert found.status_code == 200
    sign_in = httpx.post(
        f"{server.url}/app/sign-in",
        json={"name": "alice", "password": PASSWORD},
        headers={"Origin": "https://evil.example"},
    )
    assert sign_in.status_code == 403
    assert "set-cookie" not in sign_in.headers


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(server: Server) -> None:
    found = httpx.post(
        f"{server.url}/app/sign-up", json={"name": "Carol@Example.org", "password": PASSWORD}
    )
    cookie = found.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = httpx.get(server.url)
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_secrets_are_stored_as_digests_only(server: Server, alice: httpx.Client) -> None:
    secret = alice.post("/app/keys", json={"name": "k"}).json()["secret"]
    cookie = alice.cookies["colossus_session"]
    folder = Path(server.database.url.database or "").parent
    data = b"".join(path.read_bytes() for path in folder.glob("serve.db*"))
    assert secret[:8].encode() in data
    for word in (secret, secret[8:], cookie, PASSWORD):
        assert word.encode() not in data
    with server.database.read() as begin:
        user = users.find(begin, "alice")
        assert user.password is not None
        assert user.password.startswith("$argon2id$")


def test_keys_expire_and_disabled_users_are_shut_out(server: Server) -> None:
    key = server.add_user("bob")
    page = server.browser("bob")
    with server.database.begin() as begin:
        begin.query(ApiKey).update({"expires": time.time() - 1})
    with server.api(key) as client:
        found = client.get("/v1/models")
        assert (found.status_code, "expired" in found.text) == (401, True)
        with server.database.begin() as begin:
            begin.query(ApiKey).update({"expires": time.time() + 60})
        assert client.get("/v1/models").status_code == 200
        with server.database.begin() as begin:
            begin.query(User).update({"disabled": True})
        assert client.get("/v1/models").status_code == 401
    assert page.get("/app/me").json()["user"] is None
    found = page.post("/app/sign-in", json={"name": "bob", "password": PASSWORD})
    assert found.status_code == 403


def test_a_new_password_ends_other_sessions(server: Server, alice: httpx.Client) -> None:
    elsewhere = server.browser("alice")
    found = alice.post("/app/password", json={"password": PASSWORD, "new_password": "short"})
    assert found.status_code == 400
    found = alice.post(
        "/app/password", json={"password": PASSWORD, "new_password": "another password"}
    )
    assert found.status_code == 200
    assert alice.get("/app/me").json()["user"]["name"] == "alice"
    assert elsewhere.get("/app/me").json()["user"] is None
    for password, status in ((PASSWORD, 401), ("another password", 200)):
        found = httpx.post(
            f"{server.url}/app/sign-in", json={"name": "alice", "password": password}
        )
        assert found.status_code == status


def test_guessing_passwords_is_slowed_down(server: Server) -> None:
    server.add_user("alice")
    body = {"name": "ALICE", "password": "guess guess"}
    statuses = [httpx.post(f"{server.url}/app/sign-in", json=body).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    nobody = httpx.post(f"{server.url}/app/sign-in", json={"name": "nobody", "password": "x" * 9})
    assert nobody.status_code == 401
    assert nobody.json()["error"]["message"] == "the name or the password is wrong"


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_in_every_field_breaks_nothing(
    server: Server, alice: httpx.Client, evil: str
) -> None:
    for path in ("sign-in", "sign-up"):
        body = {"name": evil, "password": evil * 8}
        found = alice.post(f"/app/{path}", json=body)
        assert found.status_code in (400, 401, 422), found.text
    assert alice.get("/app/conversations", params={"search": evil}).status_code == 200
    for method in ("GET", "DELETE"):
        path = f"/app/conversations/{quote(evil, safe='')}"
        assert alice.request(method, path).status_code in (404, 405)
    identifier = alice.post("/app/conversations", json={"system": evil}).json()["id"]
    path = f"/app/conversations/{identifier}"
    assert alice.patch(path, json={"title": evil, "system": evil}).status_code == 200
    assert alice.post(f"{path}/answer", json={"content": evil}).status_code == 200
    found = alice.get(path).json()
    assert found["messages"][0]["content"] == evil.replace("\0", "")
    assert "<script" not in found["messages"][0]["html"]
    key = alice.post("/app/keys", json={"name": evil[:64]})
    assert key.status_code == 200
    with server.api(evil.encode("ascii", "ignore").decode().replace("\0", "") or "x") as client:
        assert client.get("/v1/models").status_code == 401
    with server.database.read() as begin:
        assert [user.name for user, *_ in users.everyone(begin)] == ["alice"]


def test_requests_at_the_same_time_cannot_pass_a_quota_together(server: Server) -> None:
    """Each reserves what it may cost before it runs."""
    server.add_user("free", tier="free")
    with server.database.begin() as begin:
        user = users.find(begin, "free")
        quotas.admit(begin, user, "tiny", 9_000, 9_000)
    with server.database.begin() as begin, pytest.raises(quotas.QuotaExceededError, match="20000"):
        quotas.admit(begin, user, "tiny", 1_500, 1_500)
    with server.database.begin() as begin:
        quotas.admit(begin, user, "tiny", 1_000, 1_000)


def test_who_waits_is_told_when_the_first_request_is_forgotten(
    server: Server, parrot: Parrot
) -> None:
    key = server.add_user("free", tier="free")
    with server.database.begin() as begin:
        user = users.find(begin, "free")
        for _ in range(20):
            admitted = quotas.admit(begin, user, "tiny", 1, 1)
        quotas.settle(begin, admitted.usage, 1, 1, "stop")
        begin.execute(text("UPDATE usage SET started = started - 50 WHERE id = 1"))
    with server.api(key) as client:
        refused = client.post("/v1/chat/completions", json=question())
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 10


def test_what_a_tier_never_allows_is_no_matter_of_waiting(server: Server, parrot: Parrot) -> None:
    parrot.context = 100_000
    with server.api(server.add_user("free", tier="free")) as client:
        refused = client.post("/v1/chat/completions", json=question(max_tokens=30_000))
        assert refused.status_code == 400
        assert "allows 20000 a minute" in refused.json()["error"]["message"]
        assert client.post("/v1/chat/completions", json=question()).status_code == 200
    assert 9_000 < parrot.seen[-1].max_tokens <= 10_000


def test_months_begin_where_the_calendar_says() -> None:
    december = 1_796_083_199.0  # 2026-11-30 23:59:59 UTC
    assert periods.next_month(december) == december + 1
    assert periods.month_start(december + 1) == december + 1
    assert periods.month_start(december) == 1_793_491_200.0  # 2026-11-01


def test_digests_tell_keys_apart_and_say_nothing() -> None:
    assert credentials.digest("sk-a") != credentials.digest("sk-b")
    assert credentials.csrf_token("a") != credentials.csrf_token("b")
    assert "a" * 10 not in credentials.csrf_token("a" * 10)
