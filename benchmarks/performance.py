"""Write docs/performance.md from what the benchmarks measured.

    python benchmarks/performance.py [--run] [--peers DIR]

Each benchmark keeps its results, with date and hardware, in docs/performance/NAME.json; this page
is made of these files and of nothing else. With `--run` those that need no GPU and no quiet hour
are measured first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from opencolossus.specs.files import write_atomic

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
RESULTS = DOCS / "performance"
QUICK = ("plan_speed", "fabric", "twin", "train_cpu")

Result = dict[str, Any]


def head(result: Result) -> str:
    """When and on what."""
    parts = [result[name] for name in ("date", "hardware", "software", "setup") if name in result]
    load = result.get("load")
    parts.append(f"load {load[0]} when it ended" if load else "")
    return ", ".join(part for part in parts if part) + "."


def grid(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    columns = list(columns)
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def middle(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} - {max(values):,.0f})"


def training(result: Result) -> str:
    """A table for each group, then every mode that was tried."""
    titles = {
        "dense": "Dense: 8.4 M matrix parameters, Llama blocks",
        "experts": "Experts: 8, top-2, 8.4 M active; ours with Grok's sandwich norms and soft cap",
    }
    out = [head(result)]
    for group, found in result["groups"].items():
        if "measured" not in found:
            continue
        rows = [
            (e["name"], e["mode"], middle(e["wall"]), middle(e["cpu"]), f"{e['first']:.0f} s")
            if e["wall"]
            else (e["name"], e["error"], "", "", "")
            for e in found["measured"]
        ]
        columns = ("", "best mode", "tokens/s by the clock", "by CPU time", "first step")
        out += [f"### {titles[group]}", grid(columns, rows)]
        out.append("\n".join(f"- {ratio(r)} {r['by']}" for r in found["ratios"]))
        if found.get("note"):
            out.append(found["note"])
        tried = sorted((e for e in found["tried"] if e["cpu"]), key=lambda e: -e["cpu"][0])
        modes = "; ".join(
            f"{e['name']} {e['kind']} {'compiled' if e['compiled'] else 'eager'} {e['cpu'][0]:,.0f}"
            for e in tried
        )
        out.append(
            "Modes were chosen by a trial of two steps each, by CPU time, under whatever load "
            f"there was: {modes}."
        )
    return "\n\n".join(out)


def ratio(found: dict[str, Any]) -> str:
    """One ratio in words."""
    return f"{found['ratio']:.2f}x the best of {found['among']} ({found['to']})"


def gpu(result: Result) -> str:
    """Every mode of every contender."""
    out = [head(result)]
    for group, found in result["groups"].items():
        rows = []
        for e in found["measured"]:
            extra, ran = e["extra"], bool(e["wall"])
            rows.append(
                (
                    e["name"],
                    e["mode"] if ran else e["error"],
                    middle(e["wall"]) if ran else "",
                    f"{extra['mfu']:.1%}" if "mfu" in extra else "",
                    f"{extra['power_w']:.0f} W" if "power_w" in extra else "",
                    f"{extra['clock_mhz']:.0f} MHz" if "clock_mhz" in extra else "",
                )
            )
        columns = ("", "mode", "tokens/s", "MFU", "power", "clock")
        out += [f"### {group}", grid(columns, rows)]
        out += [ratio(r) + "." for r in found["ratios"] if r["by"] == "by the clock"]
    return "\n\n".join(out)


def rows(result: Result) -> str:
    """A benchmark whose rows say their own columns."""
    found = result["rows"]
    columns = [name.replace("_", " ") for name in found[0]]
    return f"{head(result)}\n\n{grid(columns, ([cell(v) for v in row.values()] for row in found))}"


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


SECTIONS: list[tuple[str, str, str, Callable[[Result], str]]] = [
    (
        "train_cpu",
        "Training on a CPU",
        "Forward, backward, clipping and AdamW on random tokens, context 256, batch 16, vocabulary "
        "8192; each contender in its fastest mode, in a process of its own, taking steps in turns. "
        "Medians over the turns, lowest and highest in brackets. Ours keeps fp32 weights behind a "
        "bf16 network; `bf16 weights` of others means weights and optimiser in bf16 alone, which "
        "costs less and trains worse. By CPU time: tokens / (CPU seconds / threads), which other "
        "work on the machine disturbs less. Speeds of a shared machine vary by a quarter; ratios "
        "within one run vary less.",
        training,
    ),
    (
        "train_gpu",
        "Training on a GPU",
        "One GPU, a dense model of 1 B parameters and one of 8 experts with 1.3 B active.",
        gpu,
    ),
    (
        "plan_speed",
        "Planning",
        "Layouts priced on one core, and a plan as people ask for it.",
        rows,
    ),
    (
        "fabric",
        "The network",
        "An all-reduce between all servers of Colossus' fabric as flows through every port and "
        "cable; the faster of ring and tree at two sizes. Bytes beyond those of an idle Python.",
        rows,
    ),
    ("twin", "Simulating", "A site over time on one core; seconds of processor time.", rows),
    (
        "here",
        "Predictions for the machine at hand",
        "Short runs of `colossus train` in every mode: what the planner said before the first step "
        "and what the step and the memory then took. Errors in percent of what was measured.",
        rows,
    ),
    (
        "here-32",
        "Predictions for a machine without fast 16-bit products",
        "The same runs, all in 32 bits, since that is faster there; the constants of 32 bits are "
        "fitted to them and to five runs in 32 bits of the processor above.",
        rows,
    ),
    (
        "here-amx",
        "Predictions for a machine with matrix units",
        "The same runs where 16-bit products are four times as fast as 32-bit ones (AMX); the "
        "constants of 16 bits there are fitted to them, those of 32 bits are as above.",
        rows,
    ),
    ("serve", "Serving", "Requests to the API over HTTP, ours and others' engines.", rows),
]


def page() -> str:
    """The whole page."""
    out = [
        "# Performance",
        "Written by `make performance`, from the results in `docs/performance/`. Every number was "
        "measured on the day and the hardware beside it; nothing is carried over from elsewhere.",
    ]
    for name, title, what, render in SECTIONS:
        path = RESULTS / f"{name}.json"
        script = name.partition("-")[0]
        command = f"python benchmarks/{script}.py --json docs/performance/{name}.json"
        out += [f"## {title}", what]
        if path.exists():
            out += [render(json.loads(path.read_text())), f"Measured by `{command}`."]
        else:
            out.append(f"**Not measured yet.** `{command}` does, on the hardware that it needs.")
    return "\n\n".join(out) + "\n"


def main() -> None:
    """Measure if asked to, then write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="measure first; about half an hour")
    parser.add_argument("--peers", help="folder with packages of peers, for train_cpu.py")
    options = parser.parse_args()
    for name in QUICK if options.run else ():
        command = [
            sys.executable,
            str(HERE / f"{name}.py"),
            "--json",
            str(RESULTS / f"{name}.json"),
        ]
        if name == "train_cpu" and options.peers:
            command += ["--peers", options.peers]
        subprocess.run(command, check=True)
    write_atomic(DOCS / "performance.md", page())
    print(DOCS / "performance.md")


if __name__ == "__main__":
    main()
