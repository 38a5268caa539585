"""Real processes that are really killed, against a run that nobody disturbed."""

from __future__ import annotations

import random
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
    path = corpus / "kill.yaml"
    path.write_text(small_run(tokens=30720, every=7))
    return path


def start(spec: Path, out: Path, gate: Gate | None, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "opencolossus", "train", str(spec), "--out", str(out), *options],
        env=ONE_THREAD | (gate.environment if gate else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(spec, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kill") / "undisturbed"
    process = start(spec, out, None)
    _, error = process.communicate(timeout=250)
    assert process.returncode == 0, error
    return out


def test_killed_again_and_again_it_ends_where_it_would_have(spec, undisturbed, tmp_path):
    rng, run, gate = random.Random(7), tmp_path / "run", Gate(tmp_path, 0)
    kept, resume = [0], ()
    for _ in range(3):
        gate.open(kept[-1] + 16)
        process = start(spec, run, gate, *resume)
        wait_while_it_runs(
            lambda: last_step(run) >= kept[-1] + 9 and saved(run) > kept[-1],
            process,
        )
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kept.append(saved(run))
        resume = ("--resume",)
    process = start(spec, run, None, "--resume")
    _, error = process.communicate(timeout=250)
    assert process.returncode == 0, error
    assert losses(run) == losses(undisturbed)
    begun = [event["step"] for event in events(run, "start")]
    assert begun == kept, "no more is lost than what came after the last whole checkpoint"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_without_a_traceback(spec, tmp_path, number, status):
    run = tmp_path / "run"
    process = start(spec, run, Gate(tmp_path, 20))
    wait_while_it_runs(lambda: last_step(run) >= 3, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=250)
    assert process.returncode == status
    assert "Traceback" not in error
    done = last_step(run)
    assert 3 <= done <= 20
    assert saved(run) == done


def test_killed_at_any_act_of_a_save_the_run_has_a_sound_checkpoint(tmp_path):
    script = Path(__file__).parent / "killed_saves.py"
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [int(line) for line in done.stdout.split()]
    assert len(steps) > 15, "every file of a checkpoint is opened, and some are moved and removed"
    assert steps == sorted(steps)
    assert set(steps) == {2, 3}, "the one before, until the new one is whole"
