"""The batch script on a real Slurm of virtual nodes, with the real trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import events, last_step, small_run
from virtual_slurm import VirtualSlurm, missing

from opencolossus.cli import app


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


@pytest.mark.timeout(900)
@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_a_job_survives_a_dead_node_and_its_time_limit(slurm, corpus, tmp_path, capsys):
    spec, run = corpus / "slurm.yaml", tmp_path / "run"
    spec.write_text(small_run(tokens="100M", every=10, optimiser="{name: adamw}"))

    app(
        [
            *("launch", str(spec), "--slurm", "--submit", "--nodes", "2", "--gpus-per-node", "1"),
            *("--out", str(run), "--sbatch", "gres=gpu:h100:1", "--sbatch", "switches=1"),
            *("--setup", "export OMP_NUM_THREADS=1", "--time", "30 min"),
        ],
        standalone_mode=False,
    )
    number = capsys.readouterr().out.strip()
    slurm.wait(lambda: last_step(run) >= 15, "step 15")
    assert slurm.job(number)["NodeList"] == "n[1-2]"

    # The node with the batch script itself: nothing of the job is left that could clean up.
    slurm.kill_node("n1")
    lost = last_step(run)
    slurm.wait(lambda: slurm.restarted(number, 1), "the requeue")
    assert slurm.job(number)["NodeList"] == "n[3-4]"
    slurm.wait(lambda: steps_of(run, 2) >= 3, "steps after the second start")
    # A checkpoint that was being written at that moment is lost too.
    assert lost - 20 <= events(run, "start")[1]["step"] <= lost

    # What Slurm does when the time limit is near.
    slurm.run("scancel", "--signal=USR1", "--batch", number)
    slurm.wait(lambda: slurm.restarted(number, 2), "the second requeue")
    slurm.wait(lambda: steps_of(run, 3) >= 3, "steps after the third start")
    assert events(run, "start")[2]["step"] == events(run, "end")[0]["step"]

    told = (run / "slurm" / f"{number}.log").read_text().splitlines()
    assert [line.split()[2] for line in told if " attempt " in line] == ["0", "1", "2"]
    logs = {path.name for path in (run / "slurm" / number).iterdir()}
    assert logs == {"node-0.log", "node-1.log"}
