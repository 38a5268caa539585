"""Replica groups: one is killed, the other goes on, the one that comes back agrees with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch
from small_run import ONE_THREAD, events, last_step, losses, small_run

from opencolossus.specs.errors import UserError
from opencolossus.specs.load import loads
from opencolossus.train.checkpoint import Store, read_weights
from opencolossus.train.run import train

pytest.importorskip("torchft", reason="torchft is not installed (extra ft)")

STEPS = 80
"""That are compared with a run that nobody disturbed."""
CONSTANT = "{name: muon, learning_rate: 1e-3, matrix_learning_rate: 2e-3}"


def described(tokens: int) -> str:
    """A run whose learning rate does not depend on its length."""
    text = small_run(tokens=tokens, every=1, optimiser=CONSTANT)
    return f"{text}  schedule: {{kind: constant, warmup: 0}}\n"


@contextmanager
def started(log: Path, *command: object, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of which nothing is left in the end."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**ONE_THREAD, **variables},
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and the processes that it started, as a power cut would."""
    send([process], signal.SIGKILL)
    process.kill()
    process.wait()


def send(programs: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    """Send a signal to what these programs started."""
    for program in programs:
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        with suppress(OSError):
            for pid in children.read_text().split():
                os.kill(int(pid), number)


def end_together(programs: list[subprocess.Popen[bytes]]) -> None:
    """Ask all to end at one moment, however busy the machine is: none goes on without another."""
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
        send(programs, number)
    for program in programs:
        program.wait(timeout=200)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def steps_together(folder: Path) -> float:
    """Steps since the groups are two."""
    known = events(folder, "groups")[-1:]
    return last_step(folder) - known[0]["step"] if known and known[0]["groups"] == 2 else 0


def wait(true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 300
    while not true():
        assert process.poll() is None, log.read_text()[-6000:]
        assert time.monotonic() < end, log.read_text()[-6000:]
        time.sleep(0.05)


def command(spec: Path, out: Path, *options: str) -> list[object]:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1")
    port = ("--nnodes=1", f"--master-port={free_port()}")
    return [*torchrun, *port, "-m", "opencolossus", "train", spec, "--out", out, *options]


@pytest.mark.timeout(900)
def test_a_group_dies_the_other_goes_on_and_both_end_with_the_same_weights(corpus, heard, tmp_path):
    spec = corpus / "replicas.yaml"
    spec.write_text(described(tokens=10**8))
    one, two, alone = tmp_path / "one", tmp_path / "two", tmp_path / "alone"
    address = f"127.0.0.1:{free_port()}"
    lighthouse = {"TORCHFT_LIGHTHOUSE": f"http://{address}"}
    log = tmp_path / "log"
    with ExitStack() as stack:
        stack.enter_context(
            started(
                *(log, Path(sys.executable).parent / "torchft_lighthouse", "--bind", address),
                *("--min_replicas", 1, "--quorum_tick_ms", 10, "--join_timeout_ms", 30_000),
            )
        )

        def group(folder: Path, *options: str) -> subprocess.Popen[bytes]:
            words = command(spec, folder, *options)
            found = started(log, *words, REPLICA_GROUP_ID=folder.name, **lighthouse)
            return stack.enter_context(found)

        first, second = group(one), group(two)
        wait(lambda: steps_together(one) >= 10, second, log)
        kill(second)
        lost = last_step(two)
        wait(lambda: last_step(one) >= lost + 20, first, log)
        assert events(one, "groups")[-1]["groups"] == 1

        second = group(two, "--resume")
        wait(lambda: len(events(two, "start")) == 2 and last_step(two) > lost + 20, second, log)
        wait(lambda: last_step(one) >= events(two, "healed")[-1]["step"] + 20, first, log)
        assert events(one, "groups")[-1]["groups"] == 2
        wait(lambda: last_step(one) >= STEPS, first, log)
        end_together([first, second])
    healed = events(two, "healed")[-1]["step"]
    assert healed >= lost + 20

    stores = Store(one, print), Store(two, print)
    # One may have taken a step more, without the other.
    both = max(set(stores[0].steps()) & set(stores[1].steps()))
    assert both >= healed + 10
    weights = [read_weights(store.path(both)) for store in stores]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name

    # What was learnt does not depend on who was there: the batch is shared, not multiplied.
    train(loads(described(tokens=512 * STEPS), folder=corpus).description, alone, heard)
    expected = losses(alone)
    assert max(expected) == STEPS
    # The group that joined later lacks the steps before.
    found = losses(two) | losses(one)
    for number, loss in expected.items():
        assert found[number] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("run.time_limit=1 h", "no common clock: leave run.time_limit out"),
        ("run.seed=0", "start each replica group with torchrun"),
    ],
)
def test_what_replica_groups_cannot_do_is_one_sentence(
    describe, heard, tmp_path, monkeypatch, override, sentence
):
    monkeypatch.setenv("TORCHFT_LIGHTHOUSE", "http://127.0.0.1:1")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match=sentence):
        train(describe(override), tmp_path / "run", heard)
