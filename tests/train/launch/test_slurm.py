"""The batch script on a real Slurm of virtual nodes, with the real trainer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_run import ONE_THREAD, Gate, events, last_step, losses, saved, small_run
from virtual_slurm import VirtualSlurm, missing

from opencolossus.cli import app

STEPS, EVERY = 80, 10
"""Of the whole run, and from one checkpoint to the next."""


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    with VirtualSlurm(tmp_path_factory.mktemp("slurm")) as cluster:
        for key in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(key, cluster.env[key])
        yield cluster


def steps_of(run: Path, attempt: int) -> int:
    """Steps that an attempt has taken, the first attempt being 1."""
    kinds = [event["event"] for event in events(run)]
    starts = [i for i, kind in enumerate(kinds) if kind == "start"]
    return kinds[starts[attempt - 1] :].count("step") if len(starts) >= attempt else 0


@pytest.mark.timeout(1500)
@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_a_job_survives_a_dead_node_and_its_time_limit(slurm, corpus, tmp_path, capsys):
    spec, run, gate = corpus / "slurm.yaml", tmp_path / "run", Gate(tmp_path, 29)
    spec.write_text(small_run(tokens=512 * STEPS, every=EVERY, optimiser="{name: adamw}"))
    held = [f"export {name}={value}" for name, value in gate.environment.items()]

    app(
        [
            *("launch", str(spec), "--slurm", "--submit", "--nodes", "2", "--gpus-per-node", "1"),
            *("--out", str(run), "--sbatch", "gres=gpu:h100:1", "--sbatch", "switches=1"),
            *("--setup", "export OMP_NUM_THREADS=1", "--time", "30 min"),
            *(word for line in held for word in ("--setup", line)),
        ],
        standalone_mode=False,
    )
    number = capsys.readouterr().out.strip()
    slurm.wait(lambda: last_step(run) >= 15 and saved(run) >= EVERY, "a checkpoint and step 15")
    assert slurm.job(number)["NodeList"] == "n[1-2]"

    # The node with the batch script itself: nothing of the job is left that could clean up.
    slurm.kill_node("n1")
    lost, kept = last_step(run), saved(run)
    begun = events(run, "checkpoint")[-1]["step"]
    # An interval, and the steps since a checkpoint that was still being written.
    assert lost - kept <= EVERY + (lost - begun if begun > kept else 0)
    gate.open(kept + 25)
    slurm.wait(lambda: slurm.restarted(number, 1), "the requeue")
    assert slurm.job(number)["NodeList"] == "n[3-4]"
    slurm.wait(lambda: steps_of(run, 2) >= 3, "steps after the second start")
    assert events(run, "start")[1]["step"] == kept

    # What Slurm does when the time limit is near.
    slurm.run("scancel", "--signal=USR1", "--batch", number)
    slurm.wait(lambda: slurm.restarted(number, 2), "the second requeue")
    gate.open()
    slurm.wait(lambda: slurm.job(number)["JobState"] == "COMPLETED", "the end")
    asked, ended = events(run, "end")
    assert (asked["reason"], asked["finished"]) == ("SIGTERM", False)
    assert events(run, "start")[2]["step"] == asked["step"] < STEPS
    assert (ended["reason"], ended["finished"], ended["step"]) == ("tokens", True, STEPS)
    assert losses(run) == losses(undisturbed(spec, tmp_path / "undisturbed"))

    told = (run / "slurm" / f"{number}.log").read_text().splitlines()
    assert [line.split()[2] for line in told if " attempt " in line] == ["0", "1", "2"]
    logs = {path.name for path in (run / "slurm" / number).iterdir()}
    assert logs == {"node-0.log", "node-1.log"}


def undisturbed(spec: Path, out: Path) -> Path:
    """The folder of the same run on two processes, without Slurm."""
    command = ["-m", "opencolossus", "train", str(spec), "--processes", "2", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, *command], env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out
