"""From a spec to batches: made once, reused while nothing changed, remade when something did."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus_files import make_run, write_corpus

from opencolossus.data import chat
from opencolossus.data.loader import IGNORED
from opencolossus.data.prepare import Prepared, open_prepared, prepare
from opencolossus.data.tokenizer import train
from opencolossus.specs.errors import UserError

Write = Callable[[str, str | bytes], Path]


def test_what_was_made_is_used_again(corpus: Path, tmp_path: Path) -> None:
    run = make_run(corpus)
    first = prepare(run, 300, tmp_path)
    assert not first.reused
    again = prepare(run, 300, tmp_path)
    assert again.reused
    assert again.train.fingerprint == first.train.fingerprint
    assert open_prepared(run, tmp_path).train.fingerprint == first.train.fingerprint


def test_the_same_corpus_gives_the_same_tokens_elsewhere(tmp_path: Path) -> None:
    made = [
        prepare(make_run(write_corpus(tmp_path / f"corpus-{n}")), 300, tmp_path / f"run-{n}")
        for n in range(2)
    ]
    assert made[0].shards.manifest.fingerprint == made[1].shards.manifest.fingerprint


def test_a_touched_file_is_compared_by_content(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    run = make_run(corpus)
    prepare(run, 300, tmp_path / "run")
    os.utime(corpus / "corpus.jsonl", (1, 1))
    assert prepare(run, 300, tmp_path / "run").reused


def test_other_text_settings_or_damage_make_it_anew(tmp_path: Path) -> None:
    corpus, folder = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    first = prepare(make_run(corpus), 300, folder)
    assert not prepare(make_run(corpus), 310, folder).reused
    assert not prepare(make_run(corpus, held_out=0.3), 310, folder).reused
    write_corpus(corpus, seed=1)
    changed = prepare(make_run(corpus, held_out=0.3), 310, folder)
    assert not changed.reused
    assert changed.train.fingerprint != first.train.fingerprint
    (folder / "tokens" / "shard-00000.bin").write_bytes(b"")
    told: list[str] = []
    mended = prepare(
        make_run(corpus, held_out=0.3), 310, folder, progress=lambda stage, _: told.append(stage)
    )
    assert not mended.reused
    assert "shard-00000.bin has 0 bytes" in told[0]
    assert mended.train.fingerprint == changed.train.fingerprint  # so a checkpoint resumes on it
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "tokens"]


def test_the_given_tokenizer_is_kept(corpus: Path, tmp_path: Path) -> None:
    mine = train(["the power of a site"], 290)
    prepared = prepare(make_run(corpus), 300, tmp_path, tokenizer=mine)
    assert prepared.tokenizer.fingerprint == mine.fingerprint
    assert prepare(make_run(corpus), 300, tmp_path, tokenizer=mine).reused
    assert not prepare(make_run(corpus), 300, tmp_path).reused
    trained = prepare(make_run(corpus), 300, tmp_path).tokenizer
    assert prepare(make_run(corpus), 300, tmp_path, tokenizer=trained).reused
    with pytest.raises(UserError, match=r"model\.vocabulary is 280, but the tokenizer has 290"):
        prepare(make_run(corpus), 280, tmp_path / "other", tokenizer=mine)


def test_documents_are_split_and_counted(prepared: Prepared) -> None:
    manifest = prepared.shards.manifest
    assert manifest.documents == 120
    assert manifest.text_bytes == prepared.shards.text_bytes.sum()
    predictions = prepared.train.packing.predictions + prepared.held_out.packing.predictions
    assert predictions == manifest.tokens - manifest.documents
    assert len(prepared.tokenizer) == 400


def test_bad_lines_stop_or_are_skipped_as_asked(write: Write, tmp_path: Path) -> None:
    good = "\n".join(json.dumps({"text": f"document {n} " * 40}) for n in range(30))
    folder = write("a.jsonl", f"{good}\n{{broken\nnull\n")
    with pytest.raises(
        UserError, match=r"2 records are no document; the first is .*a\.jsonl:31: .*on_bad_line"
    ):
        prepare(make_run(folder), 300, tmp_path / "run")
    assert not (tmp_path / "run" / "tokens").exists()
    prepared = prepare(make_run(folder, on_bad_line="skip"), 300, tmp_path / "run")
    assert prepared.shards.manifest.documents == 30
    assert "skipped 2 bad records; the first is" in prepared.notes[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "holds no text"),
        ('{"text": ""}\n', "holds no text"),
        ('{"text": "alone"}\n', "holds only one document"),
        ('{"text": "one"}\n{"text": "two"}\n', "shorter than one batch"),
    ],
)
def test_too_little_text_is_refused(
    write: Write, tmp_path: Path, content: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        prepare(make_run(write("a.jsonl", content)), 300, tmp_path / "run")


def test_a_run_without_data_is_refused(corpus: Path, tmp_path: Path) -> None:
    run = make_run(corpus).model_copy(update={"data": None})
    with pytest.raises(UserError, match=r"run\.data is missing"):
        prepare(run, 300, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.* cannot be written"):
        prepare(make_run(corpus), 300, tmp_path / "file" / "run")


def test_only_answers_count_when_asked(corpus: Path, tmp_path: Path) -> None:
    everything = prepare(make_run(corpus), 300, tmp_path)
    answers = prepare(make_run(corpus, loss="answers"), 300, tmp_path)
    assert answers.reused
    numbers = np.arange(len(answers.train))
    full, masked = everything.train.batch(numbers), answers.train.batch(numbers)
    assert np.array_equal(full.tokens, masked.tokens)
    learned = masked.targets != IGNORED
    assert np.array_equal(full.targets[learned], masked.targets[learned])
    # the reference walks through every training document token by token
    expected = 0
    owners = np.searchsorted(answers.shards.starts, answers.train.packing.starts, "right") - 1
    for number in set(owners.tolist()):
        ids = answers.shards.document(number).tolist()
        speaker = ids[1] if ids[1] in (chat.USER_ID, chat.ASSISTANT_ID) else None
        for token in ids[1:]:
            if speaker is None:
                expected += 1
            elif token in (chat.USER_ID, chat.ASSISTANT_ID):
                speaker = token
            else:
                expected += speaker == chat.ASSISTANT_ID
    assert 0 < masked.valid == expected < full.valid


def test_processes_that_prepare_at_once_agree(corpus: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from opencolossus.data.prepare import prepare;"
        "from opencolossus.specs.run import Data, Run;"
        "run = Run(data=Data(path=Path(sys.argv[1])), tokens=1e4, batch=128, sequence=32);"
        "p = prepare(run, 300, Path(sys.argv[2])); print(p.reused, p.train.fingerprint)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(corpus), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [process.communicate()[0].split() for process in started]
    assert sorted(reused for reused, _ in said) == ["False", "True", "True"]
    assert len({fingerprint for _, fingerprint in said}) == 1


def test_no_torch_is_imported() -> None:
    code = "import sys, opencolossus.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_full_disk_is_said_and_leaves_nothing_torn(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("opencolossus.data.shards.Writer.add", full)
        with pytest.raises(UserError, match=r"No space left on device"):
            prepare(make_run(corpus), 300, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert not prepare(make_run(corpus), 300, tmp_path).reused


def test_a_kill_at_any_moment_leaves_nothing_in_the_way(corpus: Path, tmp_path: Path) -> None:
    """Killed for real when the tokens are under way; the next one cleans up and goes through."""
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from opencolossus.data.prepare import prepare;"
        "from opencolossus.specs.run import Data, Run;"
        "run = Run(data=Data(path=Path(sys.argv[1])), tokens=1e4, batch=128, sequence=32);"
        "die = lambda stage, share: share and os.kill(os.getpid(), signal.SIGKILL);"
        "prepare(run, 300, Path(sys.argv[2]), progress=die)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(corpus), str(tmp_path)])
    assert killed.returncode == -9
    assert list(tmp_path.glob(".tokens.*.part"))
    assert not prepare(make_run(corpus), 300, tmp_path).reused
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "tokens"]


def test_answers_are_asked_for_where_nobody_answers(write: Write, tmp_path: Path) -> None:
    lines = [{"messages": [{"role": "user", "content": f"{n} words " * 40}]} for n in range(30)]
    folder = write("a.jsonl", "\n".join(map(json.dumps, lines)))
    assert len(prepare(make_run(folder), 300, tmp_path / "run").train) > 4
    with pytest.raises(UserError, match=r"run\.data\.loss is answers, but .* no assistant says"):
        prepare(make_run(folder, loss="answers"), 300, tmp_path / "run")


@pytest.mark.parametrize("change", ["other text", "gone"])
def test_a_resumed_run_keeps_its_tokens_whatever_became_of_the_corpus(
    tmp_path: Path, change: str
) -> None:
    corpus, folder = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    run = make_run(corpus)
    first = prepare(run, 300, folder)
    assert prepare(run, 300, folder, resume=True).notes == ()
    if change == "gone":
        shutil.rmtree(corpus)
    else:
        write_corpus(corpus, seed=1)
    again = prepare(run, 300, folder, tokenizer=first.tokenizer, resume=True)
    assert again.reused
    assert again.train.fingerprint == first.train.fingerprint
    said = "cannot be read any more" if change == "gone" else "has changed"
    assert [said in note for note in again.notes] == [True]


def test_a_resumed_run_mends_damaged_tokens(tmp_path: Path) -> None:
    corpus, folder = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    first = prepare(make_run(corpus), 300, folder)
    (folder / "tokens" / "starts.npy").unlink()
    again = prepare(make_run(corpus), 300, folder, tokenizer=first.tokenizer, resume=True)
    assert again.train.fingerprint == first.train.fingerprint
