"""What people bring is read as they meant it, or refused in one sentence."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.data import chitchat
from opencolossus.data.corpora import open_corpus
from opencolossus.data.documents import Document, Message
from opencolossus.data.readers import TEXT_PART, BadLines
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Data

Write = Callable[[str, str | bytes], Path]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
TALK = (Message("user", "Hi"), Message("assistant", "Hello"))


def read(path: Path) -> tuple[list[Document], BadLines]:
    bad = BadLines()
    return list(open_corpus(Data(path=path)).documents(bad)), bad


def test_all_three_kinds_in_the_order_of_their_names(write: Write) -> None:
    folder = write("b.jsonl", json.dumps({"messages": CHAT}) + '\n\n{"text": "two"}\n')
    write("a.txt", "\ufeffone\r\nline\n")
    pq.write_table(pa.table({"text": ["three", None, ""], "id": [1, 2, 3]}), folder / "c.parquet")
    pq.write_table(pa.table({"messages": [CHAT]}), folder / "d.parquet")
    write("readme.md", "not read")
    write(".hidden.txt", "not read")
    documents, bad = read(folder)
    assert documents == ["one\nline", TALK, "two", "three", TALK]
    assert bad.count == 0


def test_a_long_text_is_cut_at_paragraphs_and_nothing_is_lost(write: Write) -> None:
    paragraphs = [f"Paragraph {n}. " + "word " * 200 for n in range(100)]
    documents, _ = read(write("book.txt", "\n\n".join(paragraphs)))
    assert len(documents) > 5
    assert all(isinstance(part, str) and len(part) <= TEXT_PART for part in documents)
    assert all(str(part).startswith("Paragraph") for part in documents)
    assert " ".join(map(str, documents)).split() == " ".join(paragraphs).split()


@settings(max_examples=30, deadline=None)
@given(st.text("ab \n", max_size=30), st.integers(1, 4000))
def test_no_word_of_a_text_is_lost(
    tmp_path_factory: pytest.TempPathFactory, pattern: str, times: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(pattern * times)
    documents, _ = read(path)
    letters = "".join(map(str, documents)).translate({32: None, 10: None})
    assert letters == (pattern * times).translate({32: None, 10: None})


def test_bad_lines_are_counted_and_the_first_is_named(write: Write) -> None:
    lines = [
        '{"text": "good"}',
        "{broken",
        '{"txt": "x"}',
        "[1]",
        '{"text": 5}',
        '{"text": "fine"}',
    ]
    documents, bad = read(write("a.jsonl", "\n".join(lines)))
    assert documents == ["good", "fine"]
    assert bad.count == 4
    assert bad.first.endswith(
        "a.jsonl:2: not JSON (Expecting property name enclosed in double quotes)"
    )


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe{",
        b"\x80",
        b"[" * 100_000,
        b'{"text": ' + b"1" * 5000 + b"}",
        b'{"messages": "hi"}',
    ],
)
def test_no_line_is_too_bad_to_be_counted(write: Write, line: bytes) -> None:
    documents, bad = read(write("a.jsonl", line + b'\n{"text": "good"}\n'))
    assert documents == ["good"]
    assert bad.count == 1


def test_bad_rows_of_parquet_are_counted(tmp_path: Path) -> None:
    rows = [CHAT, [{"role": "robot", "content": "x"}]]
    pq.write_table(pa.table({"messages": rows}), tmp_path / "a.parquet")
    documents, bad = read(tmp_path)
    assert documents == [TALK]
    assert "a.parquet:2: a message has the role 'robot'" in bad.first


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"abc\0def", "is binary, not text"),
        ("a.txt", b"caf\xe9 au lait", "is not UTF-8 text"),
        ("a.parquet", b"PAR1 no", "is not a Parquet file"),
        ("a.pdf", b"%PDF", "holds no file of .txt, .jsonl, .parquet"),
    ],
)
def test_files_that_cannot_be_read(write: Write, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read(write(name, content))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"], "id": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"neither a column text nor messages \(found: body, id\)"):
        read(tmp_path)


def test_paths_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "nowhere")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(UserError, match=r"a\.csv is none of"):
        read(tmp_path / "a.csv")


def test_an_unknown_corpus_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"'chitcat' is unknown \(did you mean 'chitchat'\?\)"):
        open_corpus(Data(corpus="chitcat"))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chitchat, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "opencolossus\[demo\]"'):
        open_corpus(Data(corpus="chitchat")).fingerprint()


def test_chitchat_is_thousands_of_alternating_conversations() -> None:
    talks = list(open_corpus(Data(corpus="chitchat")).documents(BadLines()))
    assert len(talks) > 3_500
    assert sum(len(turn.content) for talk in talks for turn in talk) > 12e6
    for talk in talks:
        spoken = [turn.role for turn in talk if turn.role != "system"]
        assert len(spoken) >= 2
        assert spoken == (["user", "assistant"] * len(spoken))[: len(spoken)]
        assert all(turn.role != "system" for turn in talk[1:])
    greeted = [talk for talk in talks if talk[0].role == "user"]
    assert 0.4 < len(greeted) / len(talks) < 0.6
    assert statistics.median(len(talk) for talk in talks) > 10


def test_a_file_that_vanishes_or_cannot_be_opened_is_named(write: Write) -> None:
    folder = write("a.txt", "text")
    corpus = open_corpus(Data(path=folder))
    (folder / "a.txt").unlink()
    for look in (corpus.signature, corpus.fingerprint, lambda: list(corpus.documents(BadLines()))):
        with pytest.raises(UserError, match=r"a\.txt cannot be read: No such file"):
            look()


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" * 50 for n in range(5000)]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] + b"\0" * 64 + whole[len(whole) // 3 + 64 :])
    with pytest.raises(UserError, match=r"a\.parquet"):
        read(tmp_path)
