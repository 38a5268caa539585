"""One command, several processes: how many, what they are told, and what their ends come to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from opencolossus.specs.errors import UserError
from opencolossus.train import processes


@pytest.mark.parametrize(
    ("asked", "gpus", "found"), [(None, 0, 1), (None, 8, 8), (2, 0, 2), (2, 8, 2), (1, 8, 1)]
)
def test_there_is_a_process_for_each_gpu_or_as_many_as_asked(monkeypatch, asked, gpus, found):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert processes.wanted(asked) == found


def test_a_process_that_was_started_starts_no_others(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert processes.wanted(4) == 1


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="this machine has 2 GPUs"):
        processes.wanted(3)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A program in place of ``colossus``."""
    (folder / "opencolossus").mkdir()
    (folder / "opencolossus" / "__init__.py").touch()
    (folder / "opencolossus" / "__main__.py").write_text(textwrap.dedent(text))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(folder)


def test_each_process_knows_its_place(tmp_path, monkeypatch):
    stand_in(
        tmp_path,
        monkeypatch,
        """
        import os, sys
        names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "OMP_NUM_THREADS")
        open(os.environ["RANK"], "w").write(" ".join([os.environ[n] for n in names] + sys.argv[1:]))
        """,
    )
    assert processes.start(3, ["train", "spec.yaml"]) == 0
    told = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [words[2] for words in told] == ["0", "1", "2"]
    assert {tuple(words[:2] + words[5:]) for words in told} == {("3", "3", "train", "spec.yaml")}
    assert len({words[3] for words in told}) == 1
    assert all(int(words[4]) >= 1 for words in told)


def test_one_that_fails_ends_all(tmp_path, monkeypatch):
    stand_in(
        tmp_path,
        monkeypatch,
        """
        import os, sys, time
        if os.environ["RANK"] == "1":
            sys.exit(2)
        time.sleep(600)
        """,
    )
    monkeypatch.setattr(processes, "GRACE", 0.5)
    assert processes.start(2, []) == 2


def test_a_signal_reaches_each_process_once(tmp_path, monkeypatch):
    stand_in(
        tmp_path,
        monkeypatch,
        """
        import os, signal, sys, time
        heard = []
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        open("ready" + os.environ["RANK"], "w").close()
        while not heard:
            time.sleep(0.05)
        time.sleep(0.5)
        sys.exit(140 + len(heard))
        """,
    )

    def ask() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    assert processes.start(2, []) == 141


def test_two_processes_train_by_one_command(corpus, tmp_path):
    (tmp_path / "spec.yaml").write_text(
        f"""
        name: test
        model: grok-micro
        run:
          data: {{path: {corpus / "corpus"}}}
          tokens: 5120
          batch: 512
          sequence: 64
          precision: fp32
        """
    )
    command = [sys.executable, "-m", "opencolossus", "train", "spec.yaml", "--processes", "2"]
    alone = {name: value for name, value in os.environ.items() if name != "RANK"}
    done = subprocess.run(
        [*command, "--out", "run"], cwd=tmp_path, env=alone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run\n"  # the first process speaks for all
    assert "layout of 2 processes: " in done.stderr
    assert "the planner's choice" in done.stderr
    for what in ("step time", "memory"):
        line = next(x for x in done.stderr.splitlines() if x.startswith(f"{what}:"))
        assert "predicted" in line
        assert "measured" in line
    refused = subprocess.run(
        [*command, "--out", "other", "--layout", "tp=3"],
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("colossus: layout tp=3")
    assert refused.stderr.count("\n") == 1
