"""Training speed on a CPU, ours and that of others side by side in one run.

    python benchmarks/train_cpu.py [--threads 2] [--rounds 5] [--steps 3] [--quick]

Each contender runs in a process of its own and takes its steps while the others wait: forward,
backward, clipping at 1.0, fused AdamW. A first round finds the best mode of each; these then run
in turns. The table gives medians of tokens per second by the clock, and by the CPU time of the
process (tokens / (CPU seconds / threads)), which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

Mode = tuple[str, bool]
MODES: list[Mode] = [
    (kind, compiled) for compiled in (False, True) for kind in ("fp32", "autocast", "bf16")
]


@dataclass
class Entry:
    """What was measured of one contender in one mode."""

    group: str
    name: str
    mode: Mode
    first: float = 0.0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def label(self) -> str:
        """The mode in words."""
        kind, compiled = self.mode
        kind = {"bf16": "bf16 weights"}.get(kind, kind)
        if self.name == "this project":
            kind = {"bf16": "bf16, fp32 masters"}.get(self.mode[0], kind)
        return f"{kind}, {'compiled' if compiled else 'eager'}"


def prepare(group: str, name: str, mode: Mode, threads: int) -> Callable[[], None]:
    """One training step of a contender."""
    import torch
    from train_peers import BUILDERS, Job, batches

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind, compiled = mode
    job = Job()
    contender = BUILDERS[group][name](job)
    network, loss = contender.network, contender.loss
    ours = name == "this project"
    masters = None
    if ours:
        from opencolossus.train.master import Masters

        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        masters = Masters(dict(network.named_parameters()), dtype)
    elif kind == "bf16":
        network.to(torch.bfloat16)
    parameters = list(masters.weights.values() if masters else network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=3e-4, fused=True)
    if compiled and ours:
        from opencolossus.grok import fused

        fused.switch("on")
    elif compiled:
        loss = torch.compile(loss)
    stream = batches(job)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
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

    return step


def worker(pipe: Connection, group: str, name: str, mode: Mode, threads: int) -> None:
    """Take steps when told to, and say how long they took."""
    try:
        start = time.perf_counter()
        step = prepare(group, name, mode, threads)
        step()
        pipe.send(("ready", time.perf_counter() - start))
        step()
        while (count := pipe.recv()) > 0:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                step()
            pipe.send(("took", (time.perf_counter() - wall, time.process_time() - cpu)))
    except Exception as error:  # whatever a peer does becomes a row of the table
        pipe.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0]))


class Runner:
    """A contender in its process."""

    def __init__(self, entry: Entry, threads: int) -> None:
        self.entry = entry
        self.threads = threads
        self.pipe, theirs = mp.Pipe()
        args = (theirs, entry.group, entry.name, entry.mode, threads)
        self.process = mp.get_context("spawn").Process(target=worker, args=args, daemon=True)
        self.process.start()
        self.entry.first = self._answer() or 0.0

    def run(self, steps: int, tokens: int) -> None:
        """Take steps, note tokens per second."""
        if self.entry.error:
            return
        self.pipe.send(steps)
        took = self._answer()
        if took is not None:
            wall, cpu = took
            self.entry.wall.append(steps * tokens / wall)
            self.entry.cpu.append(steps * tokens / (cpu / self.threads))

    def close(self) -> None:
        """End the process."""
        if self.process.is_alive() and not self.entry.error:
            self.pipe.send(0)
        self.process.join(timeout=10)
        self.process.kill()

    def _answer(self) -> Any:
        try:
            kind, value = self.pipe.recv()
        except EOFError:
            kind, value = "failed", "the process died"
        if kind == "failed":
            self.entry.error = value
            return None
        return value


def contest(group: str, options: argparse.Namespace) -> list[Entry]:
    """Measure a group: find each contender's best mode, then let these run in turns."""
    from train_peers import BUILDERS, Job

    tokens = Job().tokens
    tried: list[Entry] = []
    for name in BUILDERS[group]:
        for mode in MODES:
            if not _worth(name, mode, options.quick):
                continue
            entry = Entry(group, name, mode)
            runner = Runner(entry, options.threads)
            runner.run(options.steps, tokens)
            runner.close()
            tried.append(entry)
            rate = f"{entry.cpu[0]:7.0f} tokens/s by CPU time" if entry.cpu else entry.error
            print(f"  tried {name}, {entry.label}: {rate}", file=sys.stderr, flush=True)
    best = [max(good, key=lambda e: e.cpu[0]) for n in BUILDERS[group] if (good := _ran(tried, n))]
    runners = [Runner(Entry(e.group, e.name, e.mode), options.threads) for e in best]
    for _ in range(options.rounds):
        for runner in runners:
            runner.run(options.steps, tokens)
    for runner in runners:
        runner.close()
    failed = [e for e in tried if e.error and not _ran(tried, e.name)]
    return [runner.entry for runner in runners] + failed[:1]


def _worth(name: str, mode: Mode, quick: bool) -> bool:
    """Whether to try a mode: all of others, unless in a hurry; ours knows no autocast."""
    kind, compiled = mode
    if name == "this project":
        return kind != "autocast" and not (quick and (kind, compiled) != ("bf16", True))
    return not (quick and (compiled or kind == "fp32"))


def _ran(tried: list[Entry], name: str) -> list[Entry]:
    return [e for e in tried if e.name == name and e.cpu]


def table(group: str, entries: list[Entry]) -> str:
    """The results as text, ratios against the best of the others."""
    rows = [f"\n{group}: {'':<24}{'mode':<32}{'tokens/s':>9}{'by CPU':>9}{'first step':>12}"]
    for e in entries:
        if e.error:
            rows.append(f"  {e.name:<32}{e.label:<32}{e.error}")
            continue
        wall, cpu = statistics.median(e.wall), statistics.median(e.cpu)
        rows.append(f"  {e.name:<32}{e.label:<32}{wall:>9.0f}{cpu:>9.0f}{e.first:>10.1f} s")
    ours = [e for e in entries if e.name == "this project" and not e.error]
    others = [e for e in entries if e.name != "this project" and not e.error]
    if ours and others:
        for what in ("wall", "cpu"):
            mine = statistics.median(getattr(ours[0], what))
            rival = max(others, key=lambda e: statistics.median(getattr(e, what)))
            ratio = mine / statistics.median(getattr(rival, what))
            by = {"wall": "by the clock", "cpu": "by CPU time"}[what]
            rows.append(f"  {ratio:.2f}x the best of the others ({rival.name}) {by}")
    return "\n".join(rows)


def machine() -> str:
    """Processor, versions and load."""
    import torch

    with open("/proc/cpuinfo") as file:
        lines = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return f"{(lines or ['unknown processor'])[0]}, torch {torch.__version__}, load {load}"


def main() -> None:
    """Run both groups and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="per contender and round")
    parser.add_argument("--quick", action="store_true", help="try the likeliest modes alone")
    parser.add_argument("--only", choices=["dense", "experts"])
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(machine())
    for group in [options.only] if options.only else ["dense", "experts"]:
        print(table(group, contest(group, options)), flush=True)


if __name__ == "__main__":
    main()
