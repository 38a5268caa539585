"""What a person sees at the command line for a mistake: one sentence, status 2, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.specs.conftest import WHOLE
from tests.specs.test_errors import MISTAKES

SHOWN = (
    "unknown GPU",
    "negative power",
    "wrong unit",
    "no unit",
    "unknown field",
    "missing field",
    "unknown kind",
    "fewer experts than top-k",
    "heads and KV heads",
    "half a server",
    "time backwards",
    "tab",
    "a word for a mapping",
)


def colossus(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opencolossus", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mistake", SHOWN)
def test_a_bad_description_is_one_sentence_and_status_2(tmp_path: Path, mistake: str) -> None:
    right, wrong, says = MISTAKES[mistake]
    (tmp_path / "bad.yaml").write_text(WHOLE.replace(right, wrong, 1))
    out = colossus(tmp_path, "plan", "bad.yaml")
    assert out.returncode == 2
    assert out.stdout == ""
    assert out.stderr.startswith("colossus: bad.yaml:")
    assert all(words in out.stderr for words in says), out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.parametrize("verb", ["plan", "simulate", "train"])
def test_a_missing_file_is_named_by_every_verb(tmp_path: Path, verb: str) -> None:
    out = colossus(tmp_path, verb, "nowhere.yaml")
    assert out.returncode == 2
    assert out.stderr.strip() == "colossus: nowhere.yaml: no such file"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [("train", "ok.yaml"), ("export", ".", "--out", "x")],
    ids=lambda words: words[0],
)
def test_without_torch_the_extra_that_brings_it_is_named(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "ok.yaml").write_text(WHOLE)
    code = "import sys; sys.modules['torch'] = None; from opencolossus.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert out.returncode == 2, out.stderr
    assert "needs the package torch" in out.stderr
    assert "pip install 'opencolossus[" in out.stderr


def test_a_cluster_for_one_seed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ok.yaml").write_text(WHOLE)
    out = colossus(tmp_path, "simulate", "ok.yaml", "--on", "dask://nowhere:1")
    assert out.returncode == 2
    assert "--runs 2 or more" in out.stderr
