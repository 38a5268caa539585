"""The queue: order, fairness, bounds."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import MODEL, Server, question, sqlite

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.api.hub import Options
from opencolossus.serve.fair import FairQueue, QueueFullError, Room
from opencolossus.serve.request import Request
from opencolossus.serve.supervisor import Supervisor
from opencolossus.serve.worker import build_engine


def ask(identifier: int, user: str) -> Request:
    return Request(str(identifier), (1,), 1, user=user)


def test_a_user_with_one_request_does_not_wait_for_a_hundred_of_another() -> None:
    queue = FairQueue(200)
    for number in range(100):
        queue.put(ask(number, "busy"))
    queue.put(ask(1000, "quiet"))
    taken = [queue.take() for _ in range(2)]
    assert [request.user for request in taken if request] == ["busy", "quiet"]


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_everything_comes_out_once_and_in_order_within_a_user(users: list[str]) -> None:
    queue = FairQueue(100)
    for number, user in enumerate(users):
        queue.put(ask(number, user))
    out = []
    while request := queue.take():
        out.append(request)
    assert len(queue) == 0
    for user in "abc":
        mine = [int(request.id) for request in out if request.user == user]
        assert mine == [n for n, name in enumerate(users) if name == user]


def test_the_queue_is_bounded() -> None:
    queue = FairQueue(3)
    for number, user in enumerate("aab"):
        queue.put(ask(number, user))
    with pytest.raises(QueueFullError, match="the queue is full"):
        queue.put(ask(5, "c"))
    assert queue.remove("1")
    assert not queue.remove("1")
    queue.put(ask(6, "c"))
    left = [queue.take() for _ in range(len(queue))]
    assert sorted(request.id for request in left if request) == ["0", "2", "6"]


def test_a_user_who_takes_all_places_leaves_some_to_others() -> None:
    room = Room(8)
    busy = [ask(number, "busy") for number in range(9)]
    room.enter(busy, slots=2)
    with pytest.raises(QueueFullError, match="7 requests of one user may wait"):
        room.enter([ask(20, "busy")], slots=2)
    room.enter([ask(30, "quiet")], slots=2)
    with pytest.raises(QueueFullError, match="8 requests may wait"):
        room.enter([ask(40, "third")], slots=2)
    for _ in range(2):  # the second time says nothing new
        room.leave(busy[0].id)
    room.enter([ask(50, "third")], slots=2)
    assert len(room) == 10


def test_all_that_was_let_in_is_answered(
    run_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Also where nothing leaves the queue in between, as when all comes within one step."""
    engine = Supervisor(functools.partial(build_engine, run_folder, 2, 8, "cpu", 1, "fp32"), 8)
    with (
        Server(engine, tokenizer, sqlite(tmp_path), Options(), MODEL) as server,
        contextlib.ExitStack() as stack,
    ):
        clients = [
            stack.enter_context(server.api(server.add_user(name))) for name in ("ann", "bob")
        ]
        path, body = "/v1/chat/completions", question(max_tokens=3, stream=True)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            streams = [
                stack.enter_context(clients[number == 9].stream("POST", path, json=body))
                for number in range(10)
            ]
            assert [one.status_code for one in streams] == [200] * 10
            refused = clients[1].post(path, json=body)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "server_busy"
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        said = [[line for line in one.iter_lines() if line] for one in streams]
    assert all(lines[-1] == "data: [DONE]" for lines in said)
    assert not any("error" in line for lines in said for line in lines)
