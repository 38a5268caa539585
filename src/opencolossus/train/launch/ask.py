"""From what a person typed to a job, or one sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic
from opencolossus.specs.run import Layout
from opencolossus.specs.units import DURATION
from opencolossus.specs.written import UnitError, parse
from opencolossus.train.launch.job import Job
from opencolossus.train.launch.nodes import Nodes, find
from opencolossus.train.launch.pods import RUNS, SPEC

Manager = Literal["torchrun", "slurm", "kubernetes", "trainjob"]


def manager(*, slurm: bool, kubernetes: bool, trainjob: bool, submit: bool) -> Manager:
    """Who starts the processes.

    Raises:
        UserError: two of them were asked for, or something to submit without Slurm.
    """
    if slurm and (kubernetes or trainjob):
        raise UserError("give --slurm, --kubernetes or --trainjob, one of them")
    if submit and not slurm:
        raise UserError("--submit hands a script to Slurm: give --slurm too")
    if slurm:
        return "slurm"
    if trainjob:
        return "trainjob"
    return "kubernetes" if kubernetes else "torchrun"


def names(hosts: str | None) -> list[str]:
    """The names of a list with commas."""
    return [name.strip() for name in (hosts or "").split(",") if name.strip()]


def machines(
    description: Description,
    nodes: int | None,
    gpus: int | None,
    pool: str | None,
    hosts: str | None,
) -> Nodes:
    """The nodes to run on; as many as there are hosts, where those were named.

    Raises:
        UserError: numbers that contradict each other, or that nothing is known about.
    """
    named = names(hosts)
    if named and nodes not in (None, len(named)):
        raise UserError(f"--nodes {nodes}, but --hosts names {len(named)}")
    if len(set(named)) < len(named):
        raise UserError(f"--hosts {hosts} names a node twice")
    return find(description, len(named) if named else nodes, gpus, pool)


def check_layout(description: Description, machines: Nodes, asked: str | None) -> None:
    """Hold a layout that was asked for to the model, as the trainer will.

    Where torch is missing (a login node) only the trainer does so.

    Args:
        asked: like ``tp=2,pp=2``, over the description's own.

    Raises:
        UserError: these nodes cannot train the model in it.
    """
    run = description.run
    if (asked is None and run.layout is None) or find_spec("torch") is None:
        return
    from opencolossus.train.parallel.check import check
    from opencolossus.train.parallel.layout import parse

    wanted = parse(asked, run.layout) if asked else run.layout or Layout()
    check(wanted, description.model, run, machines.processes)


@dataclass(frozen=True)
class Asked:
    """What a person typed about the run itself."""

    spec: Path
    sets: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Further ones of ``colossus train``."""
    folder: str | None = None
    resume: bool = False
    time: str | None = None
    grace: str = "5 min"
    restarts: int = 3


def job(description: Description, machines: Nodes, manager: Manager, asked: Asked) -> Job:
    """The job that all this describes.

    Raises:
        UserError: what was typed is wrong, or the run's folder does not suit it.
    """
    description.run.told_data()
    inside = manager in ("kubernetes", "trainjob")
    folder = _place(description, inside, asked)
    words = ["train", str(SPEC if inside else asked.spec.absolute())]
    words += [word for each in asked.sets for word in ("--set", each)]
    words += ["--out", folder, *asked.options]
    if asked.resume and manager != "slurm":  # whose script sees for itself
        words.append("--resume")
    return Job(
        name=description.run_folder,
        nodes=machines.count,
        gpus=machines.gpus,
        train=tuple(words),
        folder=folder,
        restarts=asked.restarts,
        grace=duration("--grace", asked.grace),
        time_limit=None if asked.time is None else duration("--time", asked.time),
    )


def _place(description: Description, inside: bool, asked: Asked) -> str:
    """The run's folder, as the nodes see it."""
    name = description.run_folder
    if inside:
        folder = _in_the_volume(asked.folder or f"{RUNS}/{name}")
        _check_data(description, asked.sets)
        return folder
    place = (Path(asked.folder) if asked.folder else Path("runs") / name).absolute()
    _check_folder(place, asked.resume)
    return str(place)


def duration(option: str, text: str) -> float:
    """Seconds.

    Raises:
        UserError: the text is no time above zero.
    """
    try:
        seconds = parse(text, DURATION)
    except UnitError as error:
        raise UserError(f"{option}: {error}") from None
    if seconds < 1:
        raise UserError(f"{option} {text} is no time; write it like '30 min'")
    return seconds


def needed(option: str, value: str | None, example: str) -> str:
    """An option that Kubernetes cannot do without.

    Raises:
        UserError: it was left out.
    """
    if not value:
        raise UserError(f"a manifest needs --{option}, for example --{option} {example}")
    return value


def pairs(option: str, said: Sequence[str]) -> dict[str, str]:
    """Options of the form key=value.

    Raises:
        UserError: one has another form.
    """
    found = dict(each.partition("=")[::2] for each in said)
    for key, value in found.items():
        if not key.strip() or not value.strip():
            raise UserError(f"--{option} {key} has no value; write it like --{option} KEY=VALUE")
    return found


def write(target: Path, text: str, job: Job, manager: Manager) -> None:
    """Put the script or manifest in its place, and make the folder that Slurm logs into.

    Raises:
        UserError: it cannot be written.
    """
    if manager == "slurm":
        try:
            (Path(job.folder) / "slurm").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{job.folder} cannot be made: {error.strerror or error}") from None
    write_atomic(target, text)


def _check_folder(folder: Path, resume: bool) -> None:
    """Neither continue a run unasked nor start one that was to be continued."""
    holds = (folder / "tokenizer.json").exists()
    if holds and not resume:
        raise UserError(
            f"{folder} holds a run already; go on with it by --resume, or give another --out"
        )
    if resume and not holds:
        raise UserError(f"{folder} holds no run to resume; leave --resume out to start one")


def _in_the_volume(folder: str) -> str:
    if not Path(folder).is_relative_to(RUNS):
        better = RUNS / Path(folder).name
        raise UserError(f"--out {folder}: pods keep what lies under {RUNS} only; give {better}")
    return folder


def _check_data(description: Description, sets: Sequence[str]) -> None:
    """A path in the description is one of this machine; pods see another."""
    data = description.run.data
    if data is None or data.path is None:
        return
    if not any(each.replace(" ", "").startswith("run.data.path=/") for each in sets):
        raise UserError(
            f"run.data.path ({data.path}) is a path on this machine; say where the pods see it, "
            f"for example --set run.data.path={RUNS}/data"
        )
