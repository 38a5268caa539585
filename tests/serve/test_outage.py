"""A database that is full for a while: nothing that was said or used is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from servers import Parrot, Server, wait_until
from sqlalchemy import event, select

from opencolossus.serve.accounts.tables import Message, Usage

LONG = "word " * 2000
"""Needs new pages of the database."""


@pytest.fixture
def fill(server: Server) -> Callable[[bool], None]:
    """Forbids the database's file to grow, and allows it again."""
    most = [0]

    @event.listens_for(server.database.engine, "begin")
    def limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={most[0] or 1_000_000}")

    def change(full: bool) -> None:
        most[0] = int(full)  # SQLite takes less than there is for what there is

    return change


def ask(server: Server, parrot: Parrot, fill: Callable[[bool], None]) -> list[dict[str, Any]]:
    """Ask on the page; the database is full before the answer begins."""
    parrot.words, parrot.held = [LONG, "end"], True
    browser = server.browser("alice")
    talk = browser.post("/app/conversations", json={}).json()["id"]
    body = {"content": "hello"}
    with browser.stream("POST", f"/app/conversations/{talk}/answer", json=body) as stream:
        lines = (line for line in stream.iter_lines() if line)
        first = next(lines)
        fill(True)
        parrot.held = False
        return [json.loads(line[6:]) for line in (first, *lines)]


def stored(server: Server) -> list[str]:
    with server.database.read() as begin:
        return list(begin.scalars(select(Message.content).where(Message.role == "assistant")))


@pytest.mark.parametrize("breaks", [False, True])
def test_an_answer_is_stored_once_the_database_is_back(
    server: Server, parrot: Parrot, fill: Callable[[bool], None], breaks: bool
) -> None:
    server.add_user("alice", "premium")
    parrot.breaks_after = 1 if breaks else None
    said = ask(server, parrot, fill)
    reason = "the engine stopped" if breaks else "the answer is stored as soon as it is back"
    assert reason in said[-1]["error"]
    assert stored(server) == []
    fill(False)
    wait_until(lambda: stored(server) == [LONG if breaks else LONG + "end"])
    wait_until(lambda: not server.hub.tasks)
    with server.database.read() as begin:
        (usage,) = begin.scalars(select(Usage))
        assert usage.outcome == ("error" if breaks else "stop")
        assert usage.completion_tokens == (1 if breaks else 2)


def test_a_server_that_ends_does_not_wait_for_its_database(
    server: Server, parrot: Parrot, fill: Callable[[bool], None]
) -> None:
    server.add_user("alice", "premium")
    ask(server, parrot, fill)
    wait_until(lambda: server.hub.tasks)
    server.begin_to_end()
    wait_until(lambda: not server.hub.tasks, 20)
    fill(False)
    assert stored(server) == []
