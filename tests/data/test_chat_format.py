"""The chat format: one string, one template, one token stream, and a mask of the answers."""

from __future__ import annotations

import jinja2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.data import chat
from opencolossus.data.documents import (
    ROLES,
    Conversation,
    DocumentError,
    Message,
    content_bytes,
    conversation,
    digest,
)
from opencolossus.data.prepare import Prepared

CONTENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
TALKS = st.lists(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(ROLES), CONTENT),
    min_size=1,
    max_size=6,
)


@given(TALKS, st.booleans())
def test_the_template_equals_our_rendering(talk: list[dict[str, str]], answer_next: bool) -> None:
    template = jinja2.Environment().from_string(chat.TEMPLATE)
    theirs = template.render(messages=talk, add_generation_prompt=answer_next)
    assert theirs == chat.render(conversation(talk), answer_next=answer_next)


@given(TALKS)
def test_tokens_say_what_the_rendering_says(prepared: Prepared, talk: list[dict[str, str]]) -> None:
    document = conversation(talk)
    ids = prepared.tokenizer.encode_document(document)
    text = "".join(turn.content for turn in document)
    assert prepared.tokenizer.decode(ids) == text
    assert content_bytes(document) == prepared.tokenizer.token_bytes[ids].sum()
    assert prepared.tokenizer.show([i for i in ids if i < len(chat.SPECIAL_TOKENS)]) == (
        chat.BOS + "".join(f"<|{turn.role}|>{chat.END}" for turn in document)
    )


@given(TALKS)
def test_the_mask_covers_the_answers_and_nothing_else(
    prepared: Prepared, talk: list[dict[str, str]]
) -> None:
    document = conversation(talk)
    ids = np.array(prepared.tokenizer.encode_document(document))
    learned = ids[chat.answer_mask(ids)].tolist()
    expected = [
        i
        for turn in document
        if turn.role == "assistant"
        for i in [*prepared.tokenizer.encode(turn.content), chat.END_ID]
    ]
    assert learned == expected


def test_a_plain_text_is_learned_whole(prepared: Prepared) -> None:
    ids = np.array(prepared.tokenizer.encode_document("the power of a site"))
    assert chat.answer_mask(ids).tolist() == [False] + [True] * (len(ids) - 1)


def test_an_example_written_out(prepared: Prepared) -> None:
    talk: Conversation = (Message("user", "Hi!"), Message("assistant", "Hello."))
    assert chat.render(talk) == "<|bos|><|user|>Hi!<|end|><|assistant|>Hello.<|end|>"
    ids = prepared.tokenizer.encode_document(talk)
    assert prepared.tokenizer.show(ids) == chat.render(talk)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ("hello", "not a list"),
        ([["user", "hi"]], "not an object"),
        ([{"role": "tool", "content": "x"}], "role 'tool'"),
        ([{"content": "x"}], "role None"),
        ([{"role": "user"}], "not a text"),
        ([{"role": "user", "content": 3}], "not a text"),
    ],
)
def test_what_is_no_conversation(messages: object, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        conversation(messages)


def test_blanks_and_half_characters_are_mended() -> None:
    assert conversation(
        [{"role": "user", "content": " a\ud800 \n"}, {"role": "user", "content": " "}]
    ) == (Message("user", "a?"),)


@given(TALKS, TALKS)
def test_equal_documents_and_only_they_have_equal_digests(
    one: list[dict[str, str]], other: list[dict[str, str]]
) -> None:
    a, b = conversation(one), conversation(other)
    assert (digest(a) == digest(b)) == (a == b)
