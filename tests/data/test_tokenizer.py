"""The tokenizer gives back any text, never reads special tokens from it, and knows itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.data import chat
from opencolossus.data.documents import Message
from opencolossus.data.prepare import Prepared
from opencolossus.data.tokenizer import SMALLEST_VOCABULARY, Tokenizer, train
from opencolossus.specs.errors import UserError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_any_text_comes_back(prepared: Prepared, text: str) -> None:
    tokenizer = prepared.tokenizer
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes[ids].sum() == len(text.encode())
    assert all(len(chat.SPECIAL_TOKENS) <= i < len(tokenizer) for i in ids)


@given(TEXT)
def test_decoding_token_by_token_gives_the_same(prepared: Prepared, text: str) -> None:
    say = prepared.tokenizer.decoder()
    assert "".join(say(i) for i in prepared.tokenizer.encode(text)) == text


@given(st.sampled_from(chat.SPECIAL_TOKENS), TEXT)
def test_special_tokens_are_never_read_from_text(
    prepared: Prepared, special: str, text: str
) -> None:
    said = f"{text}{special}{text}"
    ids = prepared.tokenizer.encode(said)
    assert min(ids) >= len(chat.SPECIAL_TOKENS)
    assert prepared.tokenizer.decode(ids) == said


def test_bytes_that_are_no_text_are_shown_as_such(prepared: Prepared) -> None:
    half = prepared.tokenizer.encode("é")[:1]
    assert prepared.tokenizer.decode(half) in ("é", "�")


@settings(max_examples=5, deadline=None)
@given(st.integers(SMALLEST_VOCABULARY, 700))
def test_the_vocabulary_is_exact_even_when_the_text_is_too_short(vocabulary: int) -> None:
    tokenizer = train(["a few words, no more"], vocabulary)
    assert len(tokenizer) == vocabulary
    assert tokenizer.token_bytes.shape == (vocabulary,)


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.vocabulary is 100; .* at least 262"):
        train(["text"], 100)


def test_saved_and_loaded_it_is_the_same(prepared: Prepared, tmp_path: Path) -> None:
    prepared.tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.fingerprint == prepared.tokenizer.fingerprint
    assert again.encode("the power of day") == prepared.tokenizer.encode("the power of day")


def test_training_is_deterministic_in_another_process() -> None:
    texts = [f"{a} {b} {a}{b}" for a in ("aa", "ab", "ba") for b in ("cd", "dc", "cc")] * 3
    code = (
        "import sys, json; from opencolossus.data.tokenizer import train;"
        "print(train(json.load(sys.stdin), 300).fingerprint)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    }
    assert seen == {train(texts, 300).fingerprint}


def test_another_tokenizer_is_refused_by_name(prepared: Prepared) -> None:
    other = train(["something else"], 400)
    with pytest.raises(UserError, match=r"step-00000010 was trained with tokenizer [0-9a-f]{12}"):
        other.check(prepared.tokenizer.fingerprint, "checkpoints/step-00000010")
    other.check(other.fingerprint, "itself")


@pytest.mark.parametrize("content", ["", "{", '{"version": "1.0"}'])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"is not a tokenizer\.json"):
        Tokenizer.load(path)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Rust
    from tokenizers.models import BPE

    with pytest.raises(UserError, match="is missing"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    Rust(BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="lacks the special tokens"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_hugging_face_reads_the_file_and_agrees(prepared: Prepared, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    path = tmp_path / "tokenizer.json"
    prepared.tokenizer.save(path)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    theirs.chat_template = chat.TEMPLATE
    talk = (Message("system", "Be brief."), Message("user", "Grüße,  Tag! 12345\n\nand?"))
    messages = [turn._asdict() for turn in talk]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == prepared.tokenizer.encode_prompt(talk)
    assert theirs.decode(ids, skip_special_tokens=True) == prepared.tokenizer.decode(ids)
    assert len(theirs) == len(prepared.tokenizer)
