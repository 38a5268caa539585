"""One contender of a training benchmark in a process of its own, taking steps when told to."""

from __future__ import annotations

import multiprocessing as mp
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

OURS = "this project"


@dataclass(frozen=True)
class Setting:
    """Where and what to train."""

    job: str
    device: str = "cpu"
    threads: int = 2
    peers: str | None = None
    """Folder with packages of peers."""
    patience: float = 300.0
    """Seconds that a contender may take to start, or for one round."""


@dataclass
class Entry:
    """What was measured of one contender in one mode."""

    group: str
    name: str
    kind: str
    """fp32, autocast (to bf16) or bf16."""
    compiled: bool
    first: float = 0.0
    """Seconds of the first step, compiling included."""
    wall: list[float] = field(default_factory=list)
    """Tokens per second by the clock, one number per round."""
    cpu: list[float] = field(default_factory=list)
    """Tokens per CPU second and thread, times threads."""
    error: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """What names it."""
        return self.group, self.name, self.kind, self.compiled

    @property
    def masters(self) -> bool:
        """Whether weights and optimiser states are kept in fp32."""
        return self.name == OURS or self.kind != "bf16"

    @property
    def mode(self) -> str:
        """The mode in words."""
        words = {"fp32": "fp32", "autocast": "autocast", "bf16": "bf16 weights"}
        if self.name == OURS:
            words["bf16"] = "bf16, fp32 masters"
        return f"{words[self.kind]}, {'compiled' if self.compiled else 'eager'}"

    def median(self, what: str) -> float:
        """Of the rounds, ``wall`` or ``cpu``."""
        return statistics.median(getattr(self, what))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def prepare(entry: Entry, setting: Setting) -> tuple[Callable[[], None], Any]:
    """One training step of a contender, and its network."""
    import torch
    from train_peers import BUILDERS, JOBS, batches

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    device = torch.device(setting.device)
    job = JOBS[setting.job]
    with device:
        contender = BUILDERS[entry.group][entry.name](job)
    ours = entry.name == OURS
    network, masters = contender.network.to(device), None
    if ours:
        from opencolossus.train.allocator import keep_freed_memory
        from opencolossus.train.master import Masters

        keep_freed_memory()
        dtype = torch.bfloat16 if entry.kind == "bf16" else torch.float32
        masters = Masters(dict(network.named_parameters()), dtype)
    elif entry.kind == "bf16":
        network.to(torch.bfloat16)
    parameters = list(masters.weights.values() if masters else network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=3e-4, fused=True)
    loss = contender.compile() if entry.compiled else contender.loss
    stream = batches(job, device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=entry.kind == "autocast"):
            value = loss(next(stream))
        value.backward()
        if masters:
            masters.collect()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if masters:
            masters.publish()
            masters.zero_grad()
        optimiser.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step, network


def worker(pipe: Connection, entry: Entry, setting: Setting) -> None:
    """Take steps when told to, and say how long they took."""
    os.environ["OMP_NUM_THREADS"] = str(setting.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    if setting.peers:
        sys.path.append(setting.peers)
    try:
        start = time.perf_counter()
        step, network = prepare(entry, setting)
        step()
        size = sum(p.numel() for p in network.parameters())
        pipe.send(("ready", (time.perf_counter() - start, size)))
        step()
        while (count := pipe.recv()) > 0:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                step()
            pipe.send(("took", (time.perf_counter() - wall, time.process_time() - cpu)))
    except ImportError as error:
        pipe.send(("failed", f"not installed ({error.name}), see --help"))
    except Exception as error:  # whatever a peer does becomes a row of the table
        pipe.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0][:100]))


class Runner:
    """A contender in its process; what it does there cannot end ours."""

    def __init__(self, entry: Entry, setting: Setting) -> None:
        self.entry, self.setting = entry, setting
        self.pipe, theirs = mp.Pipe()
        target = mp.get_context("spawn").Process
        self.process = target(target=worker, args=(theirs, entry, setting), daemon=True)
        self.process.start()
        theirs.close()
        if (ready := self._answer()) is not None:
            entry.first, entry.extra["parameters"] = ready

    def run(self, steps: int, tokens: int) -> None:
        """Take steps, note tokens per second."""
        if self.entry.error:
            return
        self.pipe.send(steps)
        if (took := self._answer()) is not None:
            wall, cpu = took
            self.entry.wall.append(steps * tokens / wall)
            self.entry.cpu.append(steps * tokens / (cpu / self.setting.threads))

    def close(self) -> None:
        """End the process."""
        if self.process.is_alive() and not self.entry.error:
            self.pipe.send(0)
            self.process.join(timeout=10)
        self.process.kill()
        self.process.join()

    def _answer(self) -> Any:
        try:
            if not self.pipe.poll(self.setting.patience):
                kind, value = "failed", f"no answer in {self.setting.patience:.0f} s"
            else:
                kind, value = self.pipe.recv()
        except EOFError:
            kind, value = "failed", "the process died"
        if kind == "failed":
            self.entry.error = value
            return None
        return value
