"""The queue: order, fairness, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.serve.fair import FairQueue, QueueFullError
from opencolossus.serve.request import Request


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


def test_the_queue_and_each_line_are_bounded() -> None:
    queue = FairQueue(3, per_user=2)
    queue.put(ask(1, "a"))
    queue.put(ask(2, "a"))
    with pytest.raises(QueueFullError, match="your queue is full"):
        queue.put(ask(3, "a"))
    queue.put(ask(4, "b"))
    with pytest.raises(QueueFullError, match="the queue is full"):
        queue.put(ask(5, "c"))
    assert queue.remove("1")
    assert not queue.remove("1")
    queue.put(ask(6, "c"))
    assert sorted(request.id for request in queue) == ["2", "4", "6"]
