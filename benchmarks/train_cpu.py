"""Training speed on a CPU, ours and that of others side by side in one run.

    python benchmarks/train_cpu.py [--only dense|experts] [--peers DIR] [--json FILE]

Each contender runs in a process of its own and takes its steps while the others wait: forward,
backward, clipping at 1.0, fused AdamW. First every mode of every contender takes a few steps
(`--json` keeps these trials, and a second call with the same file does not repeat them); then the
best mode of each runs in turns until the time is over. The table gives medians of tokens per
second by the clock, and by the CPU time of the process (tokens / (CPU seconds / threads)), which
other work on the machine disturbs less.

litgpt needs packages that clash with others; put it into a folder of its own and name that:

    pip install --no-deps --target peers litgpt lightning pytorch-lightning lightning-utilities \\
        torchmetrics jsonargparse
    python benchmarks/train_cpu.py --peers peers
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import record
from train_runner import OURS, Entry, Runner, Setting

KINDS = ("bf16", "autocast", "fp32")
WARM_UP = 4
"""Steps before any that count in a trial."""


def modes(group: str, names: list[str], kinds: Sequence[str]) -> Iterator[Entry]:
    """Every mode of every contender, likely ones first; ours has no autocast."""
    for kind in kinds:
        for name in names:
            for compiled in (True, False):
                if name != OURS or kind != "autocast":
                    yield Entry(group, name, kind, compiled)


def try_all(
    wanted: Iterator[Entry], setting: Setting, tokens: int, known: dict[Any, Entry]
) -> Iterator[Entry]:
    """What is known of earlier trials; then two steps in every other wanted mode."""
    yield from known.values()
    for entry in wanted:
        if entry.key in known:
            continue
        runner = Runner(entry, setting)
        # The first turn may compile once more, for other rows or other experts.
        runner.run(WARM_UP, tokens)
        runner.run(2, tokens)
        runner.close()
        entry.wall, entry.cpu = entry.wall[1:], entry.cpu[1:]
        rate = f"{entry.cpu[0]:7.0f} tokens/s by CPU time" if entry.cpu else entry.error
        print(f"  tried {entry.name}, {entry.mode}: {rate}", file=sys.stderr, flush=True)
        yield entry


def best_of(tried: list[Entry], names: list[str]) -> list[Entry]:
    """The fastest mode of each contender, to be measured; or why it has none.

    Where that keeps weights in bf16 alone, the fastest that keeps them in fp32, as ours does and
    as long runs need, is measured too.
    """
    found = []
    for name in names:
        mine = [e for e in tried if e.name == name]
        ran = sorted((e for e in mine if e.cpu), key=lambda e: -e.cpu[0])
        found += ran[:1] or mine[:1]
        if ran and not ran[0].masters:
            found += [e for e in ran if e.masters][:1]
    return [replace(e, wall=[], cpu=[], extra={}) for e in found]


def race(entries: list[Entry], setting: Setting, tokens: int, steps: int, seconds: float) -> None:
    """Let all run in turns, at least three and until the time is over."""
    end = time.monotonic() + seconds
    runners = [Runner(e, setting) for e in entries if not e.error]
    rounds = 0
    while rounds < 3 or time.monotonic() < end:
        for runner in runners:
            runner.run(steps, tokens)
        rounds += 1
    for runner in runners:
        runner.close()


def ratios(entries: list[Entry]) -> list[dict[str, Any]]:
    """Ours over the best of the others, and of those with fp32 weights; by both clocks."""
    ran = [e for e in entries if e.cpu]
    ours = [e for e in ran if e.name == OURS]
    others = [e for e in ran if e.name != OURS]
    alike = [e for e in others if e.masters]
    found = []
    for among, rivals in (("the others", others), ("the others with fp32 weights", alike)):
        for what in ("wall", "cpu") if ours and rivals else ():
            rival = max(rivals, key=lambda e: e.median(what))
            found.append(
                {
                    "ratio": ours[0].median(what) / rival.median(what),
                    "to": rival.name,
                    "among": among,
                    "by": {"wall": "by the clock", "cpu": "by CPU time"}[what],
                }
            )
    return found


def table(group: str, entries: list[Entry]) -> str:
    """The results as text."""
    rows = [f"\n{group}: {'':<24}{'mode':<32}{'tokens/s':>9}{'by CPU':>9}{'first step':>12}"]
    for e in entries:
        start = f"  {e.name:<32}{e.mode:<32}"
        if not e.cpu:
            rows.append(start + e.error)
            continue
        rows.append(f"{start}{e.median('wall'):>9.0f}{e.median('cpu'):>9.0f}{e.first:>10.1f} s")
    for r in ratios(entries):
        rows.append(f"  {r['ratio']:.2f}x the best of {r['among']} ({r['to']}) {r['by']}")
    return "\n".join(rows)


class Results:
    """The JSON file: trials of an earlier call on this machine, and what is added to them."""

    def __init__(self, path: Path | None, threads: int) -> None:
        self.path, self.threads = path, threads
        packages = record.versions("torch", "transformers")
        self.hardware = f"{record.processor()}, {threads} threads"
        self.software = ", ".join(f"{name} {number}" for name, number in packages.items())
        self.groups: dict[str, Any] = {}
        if path is not None and path.exists():
            found = json.loads(path.read_text())
            if (found["hardware"], found["software"]) == (self.hardware, self.software):
                self.groups = found["groups"]

    def known(self, group: str) -> dict[Any, Entry]:
        """Modes that were tried, by key; failures are tried again."""
        entries = [Entry(**e) for e in self.groups.get(group, {}).get("tried", [])]
        return {e.key: e for e in entries if e.cpu}

    def keep(self, group: str, **found: Any) -> None:
        """Add to a group, and write."""
        self.groups[group] = {**self.groups.get(group, {}), **found}
        record.save(
            self.path, "train_cpu", self.hardware, software=self.software, groups=self.groups
        )


def contest(group: str, options: argparse.Namespace, results: Results) -> list[Entry]:
    """Measure a group."""
    from train_peers import BUILDERS, JOBS

    names = list(BUILDERS[group])
    setting = Setting(options.job, "cpu", options.threads, options.peers)
    tokens = JOBS[options.job].tokens
    tried: list[Entry] = []
    wanted = modes(group, names, options.kinds)
    for entry in try_all(wanted, setting, tokens, results.known(group)):
        tried.append(entry)
        results.keep(group, tried=[e.plain() for e in tried])
    if options.trials_only:
        return [e for e in tried if e.cpu]
    entries = best_of(tried, names)
    race(entries, setting, tokens, options.steps, options.seconds)
    load = [round(x, 1) for x in os.getloadavg()]
    results.keep(
        group,
        measured=[{**e.plain(), "mode": e.mode} for e in entries],
        ratios=ratios(entries),
        load=load,
        note="",
    )
    return entries


def main() -> None:
    """Run the groups and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="per contender and round")
    parser.add_argument("--seconds", type=float, default=150, help="of turns in each group")
    parser.add_argument("--only", choices=["dense", "experts"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="to try")
    parser.add_argument("--peers", help="folder with packages of peers, as above")
    parser.add_argument("--json", type=Path, help="keep the results; trials are not repeated")
    parser.add_argument("--trials-only", action="store_true", help="find the best modes and stop")
    parser.add_argument("--job", default="small", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    results = Results(options.json, options.threads)
    print(f"{results.hardware}; {results.software}")
    for group in [options.only] if options.only else ["dense", "experts"]:
        print(table(group, contest(group, options, results)), flush=True)


if __name__ == "__main__":
    main()
