"""The batch script on a real Slurm of virtual nodes, with the real trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from virtual_slurm import VirtualSlurm, missing

from opencolossus.cli import app

SPEC = """
name: test
model: grok-micro
run:
  name: test
  data: {path: corpus}
  tokens: 40960
  batch: 512
  sequence: 64
  precision: fp32
  checkpoint_every: 10
"""


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    with VirtualSlurm(tmp_path_factory.mktemp("slurm")) as cluster:
        for key in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(key, cluster.env[key])
        yield cluster


def events(run: Path, kind: str) -> list[dict[str, float]]:
    """What the run logged so far; the last line may be half there."""
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [event for event in found if event["event"] == kind]


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_a_job_survives_a_dead_node_and_its_time_limit(slurm, corpus, tmp_path, capsys):
    spec, run = corpus / "slurm.yaml", tmp_path / "run"
    spec.write_text(SPEC)

    def step() -> float:
        return max((event["step"] for event in events(run, "step")), default=0)

    app(
        [
            *("launch", str(spec), "--slurm", "--submit", "--nodes", "2", "--gpus-per-node", "1"),
            *("--out", str(run), "--sbatch", "gres=gpu:h100:1", "--sbatch", "switches=1"),
            *("--setup", "export OMP_NUM_THREADS=1", "--time", "30 min"),
        ],
        standalone_mode=False,
    )
    number = capsys.readouterr().out.strip()
    slurm.wait(lambda: step() >= 15, "step 15")
    assert slurm.job(number)["NodeList"] == "n[1-2]"

    # The node with the batch script itself: nothing of the job is left that could clean up.
    slurm.kill_node("n1")
    lost = step()
    slurm.wait(lambda: slurm.restarted(number, 1), "the requeue")
    assert slurm.job(number)["NodeList"] == "n[3-4]"
    before = len(events(run, "step"))
    slurm.wait(lambda: len(events(run, "step")) >= before + 3, "steps after the second start")
    assert lost - 10 <= events(run, "start")[1]["step"] <= lost

    # What Slurm does when the time limit is near.
    slurm.run("scancel", "--signal=USR1", "--batch", number)
    slurm.wait(lambda: slurm.restarted(number, 2), "the second requeue")
    slurm.wait(lambda: slurm.job(number)["JobState"] == "COMPLETED", "the end")
    saved = events(run, "end")[0]["step"]
    assert events(run, "start")[2]["step"] == saved < 80
    assert step() == 80
    assert json.loads((run / "result.json").read_text())["finished"]
    told = (run / "slurm" / f"{number}.log").read_text().splitlines()
    assert [line.split()[2] for line in told if " attempt " in line] == ["0", "1", "2"]
    logs = {path.name for path in (run / "slurm" / number).iterdir()}
    assert logs == {"node-0.log", "node-1.log"}
