"""Where answers go, so that conversations of many people stay known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_engine import GREEDY, alone, drain, prompts, tokens

from opencolossus.grok.model import Grok
from opencolossus.serve.engine import Engine
from opencolossus.serve.request import Request, longest_common_prefix
from opencolossus.serve.slots import Place, Slot, place

SYSTEM = (9, 8, 7, 6, 5, 9, 8, 7)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_common_beginning_is_the_longest(
    begin: list[int], left: list[int], right: list[int]
) -> None:
    left, right = begin + left, begin + right
    count = longest_common_prefix(left, right)
    assert count >= len(begin)
    assert left[:count] == right[:count]
    assert count == min(len(left), len(right)) or left[count] != right[count]


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    slots = [Slot([1, 2, 3, 4], 5), Slot([1, 2], 1), Slot()]
    assert place(slots, 0, [1, 2, 3, 4, 5, 6]) == Place(0, 0, 4)


def test_what_others_hold_is_copied_into_the_slot_left_longest_ago() -> None:
    slots = [Slot([1, 2, 3, 4], 5), Slot([1, 9], 1), Slot([7], 3)]
    assert place(slots, 0, [1, 2, 3, 8, 8]) == Place(1, 0, 3)
    assert place([*slots, Slot()], 0, [1, 2, 3, 8, 8]) == Place(3, 0, 3)
    assert place(slots, 1, [1, 2, 3, 4, 8]) == Place(1, 0, 4)  # the first one is running
    assert place(slots, 2, [5, 5]).slot == 2


def test_an_answer_that_is_written_anew_takes_the_slot_of_the_old_one() -> None:
    held = list(range(100))
    assert place([Slot(), Slot(held, 3)], 0, held[:95]) == Place(1, 1, 95)


@pytest.mark.parametrize("people", [2, 4])
def test_people_who_take_turns_each_find_their_conversation_again(
    model: Grok, engine: Engine, people: int
) -> None:
    said = [(*SYSTEM, *prompt) for prompt in prompts(people, 20)]
    for turn in range(3):
        for person in range(people):
            engine.submit(Request("a", said[person], 6, GREEDY, logprobs=0))
            out = drain(engine)["a"]
            answer = tuple(tokens(out))
            assert answer == tuple(alone(model, said[person], 6))
            if turn:  # all but the new question, and the last token of the answer before it
                assert out[0].reused == len(said[person]) - 4
            elif person:
                assert out[0].reused >= len(SYSTEM)
            said[person] = (*said[person], *answer, 7, 8, 9)


def test_a_beginning_is_taken_from_an_answer_that_is_still_under_way(
    model: Grok, engine: Engine
) -> None:
    prompt = prompts(1, 50)[0] * 2
    engine.submit(Request("first", prompt, 40, GREEDY, logprobs=0))
    said = engine.step()
    engine.submit(Request("second", (*prompt, 11), 10, GREEDY, logprobs=0))
    out = drain(engine)
    assert out["second"][0].reused == len(prompt)
    assert tokens(out["second"]) == alone(model, (*prompt, 11), 10)
    assert tokens(said + out["first"]) == alone(model, prompt, 40)
