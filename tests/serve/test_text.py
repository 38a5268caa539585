"""Streams of text: what comes out piece by piece is what was put in, up to the stop."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from opencolossus.serve.text import TextStream


def streamed(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    stream = TextStream(stop)
    out = []
    for piece in pieces:
        out.append(stream.push(piece))
        if stream.stopped:
            return out, True
    out.append(stream.close())
    return out, stream.stopped


@given(st.text(), st.lists(st.integers(0, 60)))
def test_text_survives_any_split_of_its_bytes(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert "".join(streamed(pieces)[0]) == text


@given(st.binary())
def test_bytes_that_are_no_utf8_become_replacement_characters(data: bytes) -> None:
    pieces = [bytes([byte]) for byte in data]
    assert "".join(streamed(pieces)[0]) == data.decode("utf-8", "replace")


@given(
    st.text("ab\n", max_size=20),
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_stop_string_ends_the_text_before_it(text: str, stops: list[str]) -> None:
    pieces = [letter.encode() for letter in text]
    out, stopped = streamed(pieces, tuple(stops))
    # Reference: read on letter by letter; end where one of them has been completed.
    for end in range(len(text) + 1):
        found = [text[:end].find(stop) for stop in stops if stop in text[:end]]
        if found:
            assert stopped
            assert "".join(out) == text[: min(found)]
            return
    assert not stopped
    assert "".join(out) == text


def test_half_a_character_is_held_back() -> None:
    stream = TextStream()
    assert stream.push("é".encode()[:1]) == ""
    assert stream.push("é".encode()[1:]) == "é"


def test_what_may_become_a_stop_string_is_held_back_and_given_when_it_does_not() -> None:
    stream = TextStream(("User:",))
    assert stream.push(b"Hi Us") == "Hi "
    assert stream.push(b"ed") == "Used"
