"""What a person sees who trains on bad input: one sentence that says what to change, status 2."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import small_run

from opencolossus.cli import main
from opencolossus.data.tokenizer import train as train_tokenizer

Colossus = Callable[..., tuple[int, str]]
RANDOM = bytes((i * 167 + i // 7) % 256 for i in range(4000))
GOOD = [json.dumps({"text": f"{n} green bottles hang on the wall. " * 40}) for n in range(60)]


@pytest.fixture
def colossus(tmp_path, monkeypatch, capsys) -> Colossus:
    """Runs ``colossus train spec.yaml --out run`` here; gives its status and what it said."""
    (tmp_path / "spec.yaml").write_text(small_run(tokens=1024))
    (tmp_path / "corpus").mkdir()
    monkeypatch.chdir(tmp_path)

    def call(*words: str, out: str = "run") -> tuple[int, str]:
        argv = ["colossus", "train", "spec.yaml", "--out", out, *words]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def corpus(**files: str | bytes) -> None:
    """Files of the corpus; the last underscore of a name is its dot."""
    for name, content in files.items():
        path = Path("corpus") / ".".join(name.rsplit("_", 1))
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def refused(found: tuple[int, str], said: str) -> None:
    """The last line is the sentence, and there is no traceback."""
    status, error = found
    assert status == 2, error
    assert re.search(said, error.splitlines()[-1]), error
    assert error.splitlines()[-1].startswith("colossus: ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"run\.data\.path corpus holds no file of \.txt, \.jsonl, \.parquet"),
        ({"a_txt": ""}, "holds no text; at least two documents"),
        ({"a_jsonl": GOOD[0]}, "only one document; at least two documents"),
        (
            {"a_jsonl": '{"text": "one"}\n{"text": "two"}'},
            r"shorter than one batch: it fills 1 of 8 sequences.*set run\.batch to 64 tokens or",
        ),
        ({"a_txt": RANDOM}, r"a\.txt is (binary|not UTF-8 text).*"),
        ({"a_txt": b"\0" * 99}, r"a\.txt is binary, not text; data must be UTF-8 text"),
        ({"a_parquet": RANDOM}, r"a\.parquet is not a Parquet file: .*; mend it or take it away"),
        (
            {"a_jsonl": "\n".join([*GOOD, '{"text": ', "[1]", '{"txt": 3}'])},
            r"3 records are no document; the first is corpus/a\.jsonl:61: .*on_bad_line to skip",
        ),
    ],
)
def test_a_corpus_that_cannot_be_trained_on(colossus, files, said):
    corpus(**files)
    refused(colossus(), said)
    assert not Path("run/tokenizer.json").exists(), "a second try is not refused as a run"


def trained(colossus: Colossus) -> None:
    corpus(a_jsonl="\n".join(GOOD))
    status, said = colossus_ok(colossus)
    assert status == 0, said


def colossus_ok(colossus: Colossus, *words: str) -> tuple[int, str]:
    found = colossus(*words)
    assert found[0] == 0, found[1]
    return found


def test_broken_lines_are_skipped_aloud_where_the_user_says_so(colossus):
    corpus(a_jsonl="\n".join(["{broken", *GOOD, "[1]"]))
    _, said = colossus_ok(colossus, "--set", "run.data.on_bad_line=skip")
    assert "skipped 2 bad records; the first is corpus/a.jsonl:1: not JSON" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.layers=3", r"holds another model: its model\.layers is 2.* set it to 2"),
        ("model.vocabulary=600", r"another model: its model\.vocabulary is 512"),
        ("run.optimiser.name=adamw", r"run\.optimiser\.name is adamw, but the run began with muon"),
        ("run.sequence=32", "trained on other data .*; resume with the same, or start a new run"),
        ("run.data.held_out=0.3", "trained on other data .*; resume with the same"),
        ("run.seed=4", r"run\.seed is 4, .* set run\.seed to 0"),
    ],
)
def test_a_resume_that_does_not_fit_is_refused_and_leaves_the_run_as_it_was(colossus, change, said):
    trained(colossus)
    before = Path("run/description.json").read_bytes()
    refused(colossus("--resume", "--set", change), said)
    assert Path("run/description.json").read_bytes() == before
    colossus_ok(colossus, "--resume")


def test_a_resume_says_which_field_has_changed(colossus):
    trained(colossus)
    _, said = colossus_ok(
        colossus,
        "--resume",
        "--set",
        "run.optimiser.learning_rate=1e-3",
        "--set",
        "run.tokens=2048",
    )
    assert "changed since the run began: run.optimiser.learning_rate: 0.01 -> 0.001\n" in said
    assert "changed since the run began: run.tokens: 1024.0 -> 2048.0\n" in said
    assert "trained 4 steps" in said


def test_another_tokenizer_is_refused_on_resume(colossus):
    trained(colossus)
    train_tokenizer(["quite another text, with other words"], 512).save(Path("run/tokenizer.json"))
    refused(colossus("--resume"), r"was trained with tokenizer \w{12}, but this one is \w{12}; use")


@pytest.mark.parametrize("name", ["description.json", "tokenizer.json"])
def test_a_damaged_file_of_the_run_is_named(colossus, name):
    trained(colossus)
    Path("run", name).write_text("{")
    refused(colossus("--resume"), rf"run/{name} is (damaged|not a tokenizer\.json)")


def test_a_run_without_any_sound_checkpoint_is_not_begun_anew_in_silence(colossus):
    trained(colossus)
    for state in Path("run/checkpoints").glob("*/state.json"):
        state.unlink()
    refused(colossus("--resume"), "no checkpoint in run/checkpoints is sound; start anew")


def test_damaged_tokens_are_made_again_from_the_corpus(colossus):
    trained(colossus)
    Path("run/data/tokens/shard-00000.bin").unlink()
    _, said = colossus_ok(colossus, "--resume", "--set", "run.tokens=2048")
    assert "shard-00000.bin is missing" in said
    assert "trained 4 steps" in said


def test_a_corpus_that_is_gone_does_not_end_a_run(colossus):
    trained(colossus)
    shutil.rmtree("corpus")
    _, said = colossus_ok(colossus, "--resume", "--set", "run.tokens=2048")
    assert "cannot be read any more; the run goes on with the tokens it began with" in said


@pytest.mark.parametrize("out", ["spec.yaml", "spec.yaml/run", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_named(colossus, out):
    corpus(a_jsonl="\n".join(GOOD))
    refused(colossus(out=out), f"{out} (cannot be written: |is a file or lies in one)")


def test_a_folder_that_another_run_is_writing_is_left_alone(colossus):
    from opencolossus.train.hold import held

    trained(colossus)
    with held(Path("run"), False, print):
        refused(colossus("--resume"), r"process \d+ on \S+ is training into run; wait for it")
    colossus_ok(colossus, "--resume")
