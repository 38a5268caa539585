"""Pieces of answers that leave together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opencolossus.serve.pieces import PAUSE, Outbox, joined
from opencolossus.serve.request import Delta, TokenLogprob

pauses = st.sampled_from([0.0, PAUSE / 7, PAUSE, 3 * PAUSE])


@given(st.lists(st.tuples(st.sampled_from("ab"), pauses), max_size=60))
def test_nothing_is_lost_changed_in_order_or_kept(steps: list[tuple[str, float]]) -> None:
    outbox, now = Outbox(), 0.0
    made: dict[str, list[Delta]] = {"a": [], "b": []}
    left: dict[str, list[Delta]] = {"a": [], "b": []}
    times: dict[str, list[float]] = {"a": [], "b": []}
    for number, (name, pause) in enumerate([*steps, ("a", 0.0), ("b", 0.0)]):
        now += pause
        last = number >= len(steps)
        scored = TokenLogprob(number, b"", -1.0)
        piece = Delta(name, f"{number} ", 1, (scored,), finish="stop" if last else None)
        made[name].append(piece)
        for one in outbox.due([piece], now):
            left[name].append(one)
            times[name].append(now)
    for name in "ab":
        assert joined(left[name]) == joined(made[name])
        assert left[name][0] == made[name][0]  # the first did not wait
        between = zip(times[name], times[name][1:-1], strict=False)
        assert all(later - earlier >= PAUSE for earlier, later in between)
    assert not outbox._held
    assert not outbox._left


def test_who_is_forgotten_leaves_nothing() -> None:
    outbox = Outbox()
    assert outbox.due([Delta("a", "one", 1), Delta("a", "two", 1)], 0.0) == (Delta("a", "one", 1),)
    outbox.forget("a")
    outbox.forget("b")
    assert not outbox._held
    assert not outbox._left
    assert outbox.due([Delta("a", "three", 1, finish="stop")], 0.0)[0].text == "three"
