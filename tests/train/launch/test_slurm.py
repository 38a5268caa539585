"""The batch script: read, and run for real on a Slurm of virtual nodes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from virtual_slurm import VirtualSlurm, missing

from opencolossus.cli import app

HERE = Path(__file__).parent
SPEC = """
name: test
model: grok-micro
run: {name: test, data: {path: corpus}, tokens: 10240, batch: 512, sequence: 64}
"""


@pytest.fixture
def spec(tmp_path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def launch(*words: object) -> None:
    app(["launch", *map(str, words)], standalone_mode=False)


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_a_job_survives_a_dead_node_and_its_time_limit(spec, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"

    def steps() -> list[int]:
        log = run / "log"
        return (
            [int(n) for n in re.findall(r"step (\d+) 4", log.read_text())] if log.exists() else []
        )

    def starts() -> int:
        return (run / "log").read_text().count("start")

    with VirtualSlurm(tmp_path / "slurm") as slurm:
        for key in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(key, slurm.env[key])
        launch(
            *(spec, "--slurm", "--submit", "--nodes", 2, "--gpus-per-node", 2, "--out", run),
            *("--sbatch", "gres=gpu:h100:2", "--sbatch", "switches=1", "--grace", "20 s"),
            *("--setup", f"export PYTHONPATH={HERE / 'stand_in'} OMP_NUM_THREADS=1"),
        )
        number = capsys.readouterr().out.strip()
        slurm.wait(lambda: max(steps(), default=0) >= 15, "step 15")
        assert slurm.job(number)["NodeList"] == "n[1-2]"

        slurm.kill_node("n1")
        slurm.wait(lambda: slurm.restarted(number, 1), "the requeue")
        assert slurm.job(number)["NodeList"] == "n[3-4]"
        slurm.wait(lambda: starts() == 2, "the second start")

        slurm.run("scancel", "--signal=USR1", "--batch", number)
        slurm.wait(lambda: slurm.restarted(number, 2), "the second requeue")
        slurm.wait(lambda: slurm.job(number)["JobState"] == "COMPLETED", "the end")
    text = (run / "slurm" / f"{number}.log").read_text()
    print(text)
    print((run / "log").read_text())
    assert 0
