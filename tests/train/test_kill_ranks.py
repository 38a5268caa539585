"""Two real ranks under torchrun, of which one is killed, or stops to answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import (
    ONE_THREAD,
    Gate,
    events,
    last_step,
    losses,
    saved,
    small_run,
    wait_while_it_runs,
)


@pytest.fixture(scope="module")
def spec(corpus) -> Path:
    path = corpus / "ranks.yaml"
    path.write_text(small_run(tokens=15360))
    return path


LAUNCHED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    """A failed test ends its launcher, which ends its ranks."""
    yield
    for launcher in LAUNCHED:
        if launcher.poll() is None:
            launcher.terminate()
            launcher.wait(60)
    LAUNCHED.clear()


def start(
    spec: Path, out: Path, gate: Gate | None, launcher: list[str], *options: str
) -> subprocess.Popen[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command = ["-m", "opencolossus", "train", str(spec), "--out", str(out)]
    launched = subprocess.Popen(
        [*torchrun, *launcher, *command, *options],
        env=ONE_THREAD | (gate.environment if gate else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    LAUNCHED.append(launched)
    return launched


def ranks_of(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of the ranks, in order of rank."""
    path = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    found = {}
    for pid in path.read_text().split():
        raw = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        environment = dict(item.split(b"=", 1) for item in raw if b"=" in item)
        if b"RANK" in environment:
            found[int(environment[b"RANK"])] = int(pid)
    return [found[rank] for rank in sorted(found)]


def test_a_killed_rank_is_started_again_and_the_run_ends_as_if_nothing_had_been(spec, tmp_path):
    undisturbed = start(spec, tmp_path / "calm", None, [], "--layout", "tp=2")
    said = undisturbed.communicate(timeout=250)[0]
    assert undisturbed.returncode == 0, said
    run, gate = tmp_path / "run", Gate(tmp_path, 20)
    launcher = start(spec, run, gate, ["--max-restarts", "2"], "--layout", "tp=2")
    wait_while_it_runs(lambda: last_step(run) >= 12 and saved(run) >= 5, launcher)
    os.kill(ranks_of(launcher)[1], signal.SIGKILL)
    gate.open()
    said = launcher.communicate(timeout=250)[0]
    assert launcher.returncode == 0, said
    assert losses(run) == losses(tmp_path / "calm")
    first, again = (event["step"] for event in events(run, "start"))
    assert first == 0
    assert again >= 5
    assert f"resuming at step {again}" in said


def test_a_hung_rank_ends_in_a_time_out_that_names_it(spec, tmp_path):
    run, gate = tmp_path / "run", Gate(tmp_path, 10)
    launcher = start(spec, run, gate, [], "--layout", "ep=2", "--patience", "20")
    wait_while_it_runs(lambda: last_step(run) >= 3, launcher)
    waiting, hung = ranks_of(launcher)
    os.kill(hung, signal.SIGSTOP)
    gate.open()
    end = time.monotonic() + 150
    while alive(waiting) and time.monotonic() < end:
        time.sleep(0.2)
    os.kill(hung, signal.SIGKILL)
    said = launcher.communicate(timeout=100)[0]
    assert launcher.returncode != 0
    assert "rank 1 did not answer after step" in said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_another_rank_speaks_where_the_first_is_gone(spec, tmp_path, how):
    """Rank 0 keeps the store that the others meet in, so they cannot ask it who is missing."""
    run, gate = tmp_path / "run", Gate(tmp_path, 10)
    launcher = start_by_command(spec, run, gate, "--layout", "tp=2", "--patience", "15")
    wait_while_it_runs(lambda: last_step(run) >= 3, launcher)
    first, other = ranks_of(launcher)
    os.kill(first, how)
    gate.open()
    end = time.monotonic() + 100
    while alive(other) and time.monotonic() < end:
        time.sleep(0.2)
    if alive(first):
        os.kill(first, signal.SIGKILL)
    said = launcher.communicate(timeout=60)[0]
    assert launcher.returncode != 0
    assert said.splitlines()[-1].startswith("colossus: rank 0 did not answer after step")
    assert said.count("colossus:") == 1
    assert "frame #0" not in said


def test_processes_that_never_meet_say_so(spec, tmp_path):
    alone = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    command = [sys.executable, "-m", "opencolossus", "train", str(spec), "--patience", "2"]
    found = subprocess.run(
        [*command, "--out", str(tmp_path / "run")],
        env=ONE_THREAD | alone,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 1
    assert "the 2 processes of the run did not find each other" in found.stderr


def start_by_command(spec: Path, out: Path, gate: Gate, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "opencolossus", "train", str(spec), "--out", str(out)]
    launched = subprocess.Popen(
        [*command, "--processes", "2", *options],
        env=ONE_THREAD | gate.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    LAUNCHED.append(launched)
    return launched


def alive(pid: int) -> bool:
    """Whether a process is there and not just waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
