"""Conversations cut to fit."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencolossus.data import chat
from opencolossus.data.documents import Message
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.prompt import encode, fit
from opencolossus.specs.errors import UserError


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 8), st.booleans(), st.integers(20, 200))
def test_what_is_left_fits_and_ends_with_the_question(
    tokenizer: Tokenizer, turns: int, system: bool, room: int
) -> None:
    head = [Message("system", "be brief")] if system else []
    said = [
        Message(role, f"{role} says hello {number}")
        for number in range(turns)
        for role in ("user", "assistant")
    ]
    messages = [*head, *said, Message("user", "how are you")]
    if len(encode(tokenizer, [*head, messages[-1]])) > room:
        with pytest.raises(UserError, match=f"the model can read {room}"):
            fit(tokenizer, messages, room)
        return
    prompt = fit(tokenizer, messages, room)
    assert len(prompt.tokens) <= room
    assert prompt.tokens == encode(tokenizer, [*head, *messages[len(head) + prompt.dropped :]])
    assert prompt.tokens[-1] == chat.ASSISTANT_ID
    if prompt.dropped:
        earlier = messages[len(head) + prompt.dropped - 2 :]
        assert len(encode(tokenizer, [*head, *earlier])) > room
    if prompt.dropped and prompt.dropped < len(said):
        assert messages[len(head) + prompt.dropped].role == "user"


def test_of_a_long_conversation_only_the_end_is_read(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = Tokenizer.encode_prompt

    def counted(self: Tokenizer, messages: tuple[Message, ...]) -> list[int]:
        read.append(len(messages))
        return original(self, messages)

    monkeypatch.setattr(Tokenizer, "encode_prompt", counted)
    said = [Message(("user", "assistant")[i % 2], "hello there") for i in range(5001)]
    prompt = fit(tokenizer, said, 100)
    assert 2 < 5001 - prompt.dropped < 40
    assert sum(read) < 100
