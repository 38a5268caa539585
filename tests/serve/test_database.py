"""The database on SQLite, and on a real PostgreSQL where one is installed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgresql import Postgres
from servers import MODEL, PASSWORD, Parrot, Server, question, sqlite, wait_until
from sqlalchemy import text

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.accounts import conversations, quotas, users
from opencolossus.serve.accounts.database import Database
from opencolossus.serve.accounts.tables import Base
from opencolossus.serve.api.hub import Options
from opencolossus.specs.errors import UserError


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(sqlite(tmp_path))
    else:
        url = request.getfixturevalue("postgres").url
        made = Database(url)
        with made.begin() as begin:
            begin.execute(text("DELETE FROM users"))
    yield made
    made.close()


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    Database(str(database.url)).close()  # migrating again changes nothing


def test_deleting_a_user_deletes_all_that_is_theirs(database: Database) -> None:
    with database.begin() as begin:
        user = users.add(begin, "ann", None, "free")
        talk = conversations.create(begin, user, "", None)
        conversations.append(begin, talk, "user", "hello")
        quotas.admit(begin, user, "m", 1, 1)
    with database.begin() as begin:
        users.remove(begin, users.find(begin, "ANN"))
    with database.read() as begin:
        for table in ("users", "conversations", "messages", "usage"):
            assert begin.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_names_are_unique_whatever_their_case(database: Database) -> None:
    with database.begin() as begin:
        users.add(begin, "Ann", None, "free")
    with pytest.raises(users.NameTakenError), database.begin() as begin:
        users.add(begin, "aNN", None, "free")


def test_requests_at_the_same_time_are_admitted_one_after_the_other(database: Database) -> None:
    """Twenty threads want what only five may have."""
    with database.begin() as begin:
        user = users.add(begin, "ann", None, "free")
    outcomes: list[bool] = []

    def ask() -> None:
        try:
            with database.begin() as begin:
                quotas.admit(begin, user, "m", 2_000, 2_000)
            outcomes.append(True)
        except quotas.QuotaExceededError:
            outcomes.append(False)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 15 + [True] * 5


def test_a_clock_that_is_put_back_locks_nobody_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.begin() as begin:
        user = users.add(begin, "ann", None, "free")
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 86_400.0)
    with database.begin() as begin:
        for _ in range(20):
            quotas.admit(begin, user, "m", 1, 1)
    with pytest.raises(quotas.QuotaExceededError), database.begin() as begin:
        quotas.admit(begin, user, "m", 1, 1)
    monkeypatch.setattr(time, "time", lambda: right)
    with database.begin() as begin:
        quotas.admit(begin, user, "m", 1, 1)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "is no database URL"),
        ("mysql://root@localhost/x", "is not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:////proc/no/such.db", "cannot be made"),
        ("postgresql://nobody:hunter2@127.0.0.1:1/x", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_had_is_one_sentence(url: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "serve.db"
    path.write_text("these are my notes, not a database " * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        Database(sqlite(tmp_path))
    assert path.read_text().startswith("these are my notes")


def test_a_server_outlives_a_stop_of_postgresql(
    postgres: Postgres, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    with Server(parrot, tokenizer, postgres.url, Options(), MODEL) as server:
        key = server.add_user("dora")
        page = server.browser("dora")
        with server.api(key) as client:
            assert client.post("/v1/chat/completions", json=question()).status_code == 200
            identifier = page.post("/app/conversations", json={}).json()["id"]
            wait_until(lambda: not server.hub.tasks)
            postgres.stop()
            found = client.post("/v1/chat/completions", json=question())
            assert found.status_code == 503
            assert found.json()["error"]["code"] == "database_unavailable"
            assert "Traceback" not in found.text
            assert httpx.get(f"{server.url}/health").status_code == 200
            postgres.start()
            assert client.post("/v1/chat/completions", json=question()).status_code == 200
            assert page.get(f"/app/conversations/{identifier}").status_code == 200
            again = httpx.post(
                f"{server.url}/app/sign-in", json={"name": "dora", "password": PASSWORD}
            )
            assert again.status_code == 200
