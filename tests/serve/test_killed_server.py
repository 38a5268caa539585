"""Servers that are ended with answers under way, rudely and politely."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from processes import SERVE, Process
from servers import question, sqlite, wait_until
from sqlalchemy import select

from opencolossus.serve.accounts import credentials, users
from opencolossus.serve.accounts.database import Database
from opencolossus.serve.accounts.tables import Usage
from opencolossus.serve.accounts.tiers import TIERS


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres").url if request.param != "sqlite" else sqlite(tmp_path)
    with closing(Database(url)) as made:
        yield made


@contextmanager
def serving(folder: Path, database: Database) -> Iterator[Process]:
    started = Process(folder, database.url.render_as_string(hide_password=False))
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def only_record(database: Database) -> Usage:
    with database.read() as begin:
        return begin.scalars(select(Usage)).one()


def test_what_a_killed_server_had_reserved_is_settled_by_the_next(
    run_folder: Path, database: Database
) -> None:
    with database.begin() as begin:
        key = credentials.new_key(begin, users.add(begin, "ann", None, "free"), "test", None)[0]
    asked = {
        "json": question(max_tokens=100, stream=True),
        "headers": {"Authorization": f"Bearer {key}"},
    }
    with serving(run_folder, database) as first:
        engine = first.engine()
        os.kill(engine, signal.SIGSTOP)  # so that the answer is under way for as long as it takes
        try:
            path = f"{first.url}/v1/chat/completions"
            with httpx.stream("POST", path, **asked, timeout=60) as stream:  # type: ignore[arg-type]
                assert stream.status_code == 200
                first.process.kill()
                first.process.wait()
        finally:
            os.kill(engine, signal.SIGKILL)
    lost = only_record(database)
    assert (lost.completion_tokens, lost.finished) == (100, None)
    prompt = lost.prompt_tokens
    with serving(run_folder, database) as second:
        settled = only_record(database)
        assert (settled.prompt_tokens, settled.completion_tokens) == (prompt, 0)
        assert settled.outcome == "error"
        asked["json"] = question(max_tokens=100)
        answer = httpx.post(f"{second.url}/v1/chat/completions", **asked, timeout=60)  # type: ignore[arg-type]
        allowed = TIERS["free"].tokens_per_minute
        assert allowed is not None
        left = allowed - prompt - (prompt + 100)
        assert answer.headers["x-ratelimit-remaining-tokens"] == str(left)


def test_a_signal_to_all_processes_lets_answers_end(run_folder: Path, tmp_path: Path) -> None:
    """As systemd sends it: the engine must not go first."""
    started = Process(run_folder, tmp_path / "serve.db", "--no-accounts")
    engine = started.engine()
    try:
        os.kill(engine, signal.SIGSTOP)
        path, body = f"{started.url}/v1/chat/completions", question(max_tokens=100, stream=True)
        with httpx.stream("POST", path, json=body, timeout=60) as stream:
            os.kill(started.process.pid, signal.SIGTERM)
            os.kill(engine, signal.SIGTERM)
            os.kill(engine, signal.SIGCONT)
            said = [line for line in stream.iter_lines() if line]
        assert said[-1] == "data: [DONE]"
        assert started.process.wait(40) == 0
        assert not Path(f"/proc/{engine}").exists()
    finally:
        started.process.kill()
    assert "Traceback" not in "".join(started.said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_while_the_engine_is_built_leaves_nothing_behind(
    run_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = [str(run_folder), "--port", "0", "--database", sqlite(tmp_path)]
    started = subprocess.Popen([*SERVE, *arguments], stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    started.stderr.readline()
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 2)
    started.send_signal(number)
    started.wait(40)
    said = started.stderr.read()  # ends when the last of them has
    assert "Traceback" not in said, said
