"""Real processes that are really killed, against a run that nobody disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import ONE_THREAD, events, last_step, losses, small_run


@pytest.fixture(scope="module")
def spec(corpus) -> Path:
    path = corpus / "kill.yaml"
    path.write_text(small_run(tokens=30720, every=7))
    return path


def start(spec: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "opencolossus", "train", str(spec), "--out", str(out), *options],
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while last_step(folder) < step and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(spec, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kill") / "undisturbed"
    process = start(spec, out)
    _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return out


def test_killed_again_and_again_it_ends_where_it_would_have(spec, undisturbed, tmp_path):
    rng = random.Random(7)
    resume: tuple[str, ...] = ()
    for _ in range(3):
        process = start(spec, tmp_path / "run", *resume)
        wait_for_step(tmp_path / "run", last_step(tmp_path / "run") + 9, process)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.wait()
        resume = ("--resume",)
    process = start(spec, tmp_path / "run", "--resume")
    _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert losses(tmp_path / "run") == losses(undisturbed)
    begun = [e["step"] for e in events(tmp_path / "run") if e["event"] == "start"]
    assert begun[0] == 0
    assert all(step > 0 for step in begun[1:]), "nothing since the last checkpoint was lost"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_without_a_traceback(spec, tmp_path, number, status):
    process = start(spec, tmp_path / "run")
    wait_for_step(tmp_path / "run", 3, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=100)
    assert process.returncode == status
    assert "Traceback" not in error
    done = last_step(tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / f"step-{done:08d}").is_dir()
