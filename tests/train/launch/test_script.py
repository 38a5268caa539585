"""What the batch script does, run by a real bash with commands of Slurm that note their calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opencolossus.specs.errors import UserError
from opencolossus.train.launch.job import Job
from opencolossus.train.launch.slurm import ATTEMPTS, Options, clock, script, submit

SCONTROL = """#!/bin/bash
case "$*" in
  "show hostnames"*) printf 'n7\\nn8\\n' ;;
  *"show node n7") echo "NodeName=n7 Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=n7" ;;
  *) echo "scontrol $*" >>"$CALLS" ;;
esac
"""
SCANCEL = """#!/bin/bash
echo "scancel $*" >>"$CALLS"
touch "$CALLS.term"
"""


class Site:
    """A folder of make-believe commands, and a job in it."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder, self.run = folder, Path(job.folder)
        self.run.mkdir()
        (folder / "bin").mkdir()
        self.calls = folder / "calls"
        self._command("scontrol", SCONTROL)
        self._command("scancel", SCANCEL)
        self.file = folder / "launch.sbatch"
        self.file.write_text(script(job, Options("/opt/python", str(folder))))

    def _command(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, srun: str, restart: int = 0) -> subprocess.Popen[str]:
        self._command("srun", f"#!/bin/bash\n{srun}\n")
        self.calls.write_text("")
        return subprocess.Popen(
            ["bash", self.file],
            env={
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "CALLS": str(self.calls),
                "RUN": str(self.run),
                "SLURM_JOB_ID": "12345",
                "SLURM_JOB_NODELIST": "n[7-8]",
                "SLURM_JOB_NUM_NODES": "2",
                "SLURM_NODEID": "0",
                **({"SLURM_RESTART_COUNT": str(restart)} if restart else {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, srun: str, restart: int = 0) -> tuple[int, str, str]:
        """Status, output and calls of one attempt."""
        process = self.start(srun, restart)
        said, _ = process.communicate(timeout=240)
        return process.returncode, said, self.calls.read_text()


@pytest.fixture
def job(tmp_path) -> Job:
    return Job("grok", 2, 8, ("train", "spec.yaml", "--set", "run.name=a b"), str(tmp_path / "run"))


@pytest.fixture
def site(tmp_path, job) -> Site:
    return Site(tmp_path, job)


def test_every_node_runs_one_torchrun_that_meets_at_the_first(site):
    # srun as it would run a task: on this node, the words after its own options.
    task = 'while [ "${1#-}" != "$1" ]; do shift; done; printf "%s\\n" "$@" >"$CALLS"'
    status, said, words = site.play(task)
    assert status == 0
    assert "attempt 0 on n[7-8] from the start" in said
    command, *rest = words.split("/opt/python\n")
    assert command.startswith("bash\n-c\n")
    assert rest == ["train\nspec.yaml\n--set\nrun.name=a b\n"]
    run = 'while [ "${1#-}" != "$1" ]; do shift; done; "$@"'
    (site.folder / "python").write_text('#!/bin/bash\nprintf "%s\\n" "$@" >"$CALLS"\n')
    (site.folder / "python").chmod(0o755)
    site.file.write_text(site.file.read_text().replace("/opt/python", str(site.folder / "python")))
    _, _, words = site.play(run)
    assert words.split("\n")[:11] == [
        *("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=8", "--max-restarts=3"),
        *("--rdzv-backend=c10d", "--rdzv-endpoint=10.0.0.7:22345", "--rdzv-id=12345-0"),
        *("--rdzv-conf=is_host=1", "-m", "opencolossus"),
    ]


def test_a_run_that_its_folder_holds_goes_on(site):
    words = 'printf "%s\\n" "$@" >"$CALLS"'
    assert "--resume" not in site.play(words)[2]
    (site.run / "tokenizer.json").touch()
    assert site.play(words)[2].endswith("\n--resume\n")


def test_it_gives_up_after_failures_without_a_new_checkpoint(site):
    for attempt in range(ATTEMPTS - 1):
        status, said, calls = site.play("exit 9", attempt)
        assert (status, calls) == (0, "scontrol requeue 12345\n")
        assert "failed (status 9)" in said
    status, said, calls = site.play("exit 9", ATTEMPTS - 1)
    assert (status, calls) == (9, "")
    assert f"failed {ATTEMPTS} times without a new checkpoint" in said


def test_a_mistake_is_passed_on_and_not_tried_again(site):
    """With a real torchrun, whose account of what failed is what the script reads."""
    (site.folder / "mistake.py").write_text(
        "import sys; print('colossus: run.data.path is nowhere', file=sys.stderr); sys.exit(2)"
    )
    srun = (
        f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node=1 "
        f'{site.folder}/mistake.py >"$RUN/slurm/12345/node-0.log" 2>&1'
    )
    status, said, calls = site.play(srun)
    assert (status, calls) == (2, "")
    assert "refused: colossus: run.data.path is nowhere" in said


def test_progress_pardons_earlier_failures(site):
    for attempt in range(2 * ATTEMPTS):
        srun = f'mkdir -p "$RUN/checkpoints/step-{attempt:08d}"; exit 9'
        status, _, calls = site.play(srun, attempt)
        assert (status, calls) == (0, "scontrol requeue 12345\n")


@pytest.mark.parametrize("saved", [True, False])
def test_near_the_time_limit_it_asks_the_run_to_save_and_queues_again(site, saved):
    save = 'mkdir -p "$RUN/checkpoints/step-00000007"; exit 143' if saved else "exit 0"
    process = site.start(
        f'touch "$CALLS.up"; until [ -e "$CALLS.term" ]; do sleep 0.05; done; {save}'
    )
    up = Path(f"{site.calls}.up")
    end = time.monotonic() + 240
    while not up.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=240)
    calls = site.calls.read_text().splitlines()
    assert calls[0] == "scancel --signal=TERM 12345"
    assert process.returncode == 0
    if saved:
        assert "saved at step-00000007; queueing again" in said
        assert calls[1:] == ["scontrol requeue 12345"]
    else:  # it ended by itself in the meantime
        assert "finished" in said
        assert calls[1:] == []


def test_the_head_asks_for_whole_nodes_and_to_be_queued_again(job):
    lines = script(job, Options("python3", "/home/me", 2, ("partition=h100", "gres=gpu:h100:8")))
    head = {line[8:] for line in lines.splitlines() if line.startswith("#SBATCH ")}
    assert head == {
        *("--job-name=grok", "--nodes=2", "--ntasks-per-node=1", "--exclusive", "--mem=0"),
        *("--chdir=/home/me", f"--output={job.folder}/slurm/%j.log", "--open-mode=append"),
        *("--requeue", "--signal=B:USR1@300", "--gres=gpu:h100:8", "--segment=2"),
        "--partition=h100",
    }


def test_nodes_without_gpus_ask_for_none(job):
    plain = Job(**{**vars(job), "gpus": 0})
    text = script(plain, Options("python3", "/home/me"))
    assert "gres" not in text
    assert "NCCL" not in text
    assert "export processes=1" in text


@pytest.mark.parametrize(
    ("seconds", "written"), [(90, "0-00:01:30"), (86400 * 2 + 3600 * 5, "2-05:00:00")]
)
def test_times_are_written_as_slurm_reads_them(seconds, written):
    assert clock(seconds) == written


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({"time_limit": 200.0}, (), "leaves no time to train"),
        ({}, ("segment=3",), "does not divide 2 nodes; nearest are 3 and 3"),
        ({}, ("nodes=3",), "give --nodes"),
        ({}, ("comment=a b",), "must hold no spaces"),
        ({}, ("--partition=x",), "start without dashes"),
        ({"folder": "/my runs/a"}, (), "must hold no spaces"),
        ({"folder": "/runs/100%"}, (), "quotes, # or %"),
    ],
)
def test_what_cannot_hold_is_one_sentence(job, change, options, sentence):
    bad = Job(**{**vars(job), **change})
    with pytest.raises(UserError, match=sentence) as caught:
        script(bad, Options("python3", "/home/me", None, options))
    assert "\n" not in str(caught.value)


def test_without_sbatch_it_says_where_to_submit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"sbatch is not on PATH; submit .* on a login node"):
        submit(tmp_path / "launch.sbatch")


def test_what_sbatch_refuses_is_passed_on(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1"
    )
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(UserError, match=r"refuses .*launch.sbatch: invalid partition"):
        submit(tmp_path / "launch.sbatch")
