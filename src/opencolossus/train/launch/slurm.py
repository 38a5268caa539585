"""A batch script for Slurm, and its submission.

The script's head says what this run needs; its body (``slurm.sh``) is the same for all. Slurm
itself queues the job again when a node dies; the body does so when a process fails, or when the
time limit is near and the run has saved.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from opencolossus.specs.errors import UserError
from opencolossus.train.launch.job import Job

ATTEMPTS = 3
"""Failures in a row without a new checkpoint after which a job is not queued again."""
FIXED = {
    "nodes": "give --nodes, because the processes are counted by it",
    "ntasks-per-node": "it is 1, because torchrun starts the processes of a node",
    "time": "give --time",
    "signal": "give --grace",
}
EARLIEST = 60.0
"""Seconds that Slurm may be early with a signal before the limit (sbatch(1), --signal)."""


@dataclass(frozen=True)
class Options:
    """What a site's Slurm wants to know."""

    python: str
    """That runs the job, on every node."""
    working_folder: str
    segment: int | None = None
    """Nodes that must lie in one block (topology/block, Slurm 23.11 or newer)."""
    sbatch: tuple[str, ...] = ()
    """Options of sbatch without their dashes, which go before ours: partition=h100."""
    setup: tuple[str, ...] = ()
    """Lines of shell before anything runs: module load cuda."""


def script(job: Job, options: Options) -> str:
    """The batch script.

    Raises:
        UserError: an option cannot hold.
    """
    _check(job, options)
    body = resources.files(__package__).joinpath("slurm.sh").read_text()
    lines = ["#!/bin/bash", "# Written by `colossus launch --slurm`."]
    lines += [f"#SBATCH --{option}" for option in _directives(job, options)]
    lines += ["", *options.setup, *_variables(job, options)]
    return "\n".join(lines) + "\n" + body


def submit(file: Path) -> str:
    """Hand a script to sbatch; the number of the job.

    Raises:
        UserError: there is no sbatch here, or it refuses the script.
    """
    program = shutil.which("sbatch")
    if program is None:
        raise UserError(
            f"sbatch is not on PATH; submit {file} on a login node, or leave --submit out"
        )
    done = subprocess.run([program, "--parsable", str(file)], capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().replace("sbatch: error: ", "").splitlines()
        raise UserError(f"sbatch refuses {file}: {'; '.join(said) or 'no reason given'}")
    return done.stdout.strip().split(";")[0]


def clock(seconds: float) -> str:
    """A time as Slurm writes it: days-hours:minutes:seconds."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{left:02}"


def _directives(job: Job, options: Options) -> list[str]:
    said: dict[str, object] = {
        "job-name": job.label,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "exclusive": "",
        "mem": 0,  # all there is
        "chdir": options.working_folder,
        "output": f"{job.folder}/slurm/%j.log",
        "open-mode": "append",  # of all attempts
        "requeue": "",
        "signal": f"B:USR1@{job.grace:.0f}",
    }
    if job.gpus:
        said["gres"] = f"gpu:{job.gpus}"
    if job.time_limit is not None:
        said["time"] = clock(job.time_limit)
    if options.segment is not None:
        said["segment"] = options.segment
    for option in options.sbatch:
        key, _, value = option.partition("=")
        said[key] = value
    if said.get("segment") == "0":
        del said["segment"]
    return [f"{key}={value}" if value != "" else key for key, value in said.items()]


def _variables(job: Job, options: Options) -> list[str]:
    lines = [
        f"folder={shlex.quote(job.folder)}",
        f"python={shlex.quote(options.python)}",
        f"grace={job.grace:.0f}  # seconds to save in",
        f"attempts={ATTEMPTS}  # failures in a row without a new checkpoint, then it gives up",
        f"export processes={job.processes} restarts={job.restarts}",
        f"train=({shlex.join(job.train)})",
    ]
    if job.gpus:
        # One line where a link or a peer fails, which PyTorch alone reports without its reason.
        lines.append('export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"')
    return lines


def _check(job: Job, options: Options) -> None:
    if job.time_limit is not None and job.time_limit < job.grace + EARLIEST:
        raise UserError(
            f"--time {clock(job.time_limit)} leaves no time to train: saving may begin "
            f"{job.grace + EARLIEST:.0f} s before its end; give more, or a shorter --grace"
        )
    for option in options.sbatch:
        key, _, value = option.partition("=")
        if key in FIXED:
            raise UserError(f"--sbatch {option}: {FIXED[key]}")
        if key == "segment" and value.isdigit():
            _check_segment(job.nodes, int(value))
        _check_word(f"--sbatch {option}", option)
    _check_word(f"the folder {job.folder}", job.folder)
    _check_word(f"the folder {options.working_folder}", options.working_folder)


def _check_segment(nodes: int, segment: int) -> None:
    if segment and nodes % segment:
        low = nodes // segment * segment
        raise UserError(
            f"--sbatch segment={segment} does not divide {nodes} nodes; nearest are "
            f"{max(low, segment)} and {low + segment} nodes"
        )


def _check_word(what: str, word: str) -> None:
    """A directive ends at the line's end, sbatch splits it at spaces and fills in after a %."""
    if not word or set(word) & set(" \t\r\n%'\"\\#") or word.startswith("-"):
        raise UserError(
            f"{what} cannot stand in a batch script: it must hold no spaces, quotes, # or %, and "
            "start without dashes"
        )
