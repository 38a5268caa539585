"""What the planner says of this machine, and what runs on it then take: time and memory.

    python benchmarks/here.py [--only TEXT] [--mode MODE] [--runs DIR [--again]] [--json FILE]

Each case is a short run of `colossus train` in processes of its own; the prediction is that of the
law as it is now, on what the run found of the machine before its first step. Prints a table;
nothing is asserted. Wants a machine with nothing else at work, and takes a quarter of an hour;
where only some cases are run, the other rows of the file stay. `colossus calibrate --run DIR/00/run
--run DIR/01/run ...` fits the law to them.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from record import processor, save, versions
from rich.console import Console
from rich.table import Table

from opencolossus.plan.logged import read
from opencolossus.specs import calibration

STEPS = 16
LONG = 64
"""Steps of networks with experts, whose memory grows while routers still change."""
WORDS = 400_000
ADAMW = {"name": "adamw"}
MUON = {"name": "muon", "learning_rate": 2e-2, "matrix_learning_rate": 4e-2}
"""Rates of ``examples/tiny.yaml``."""
GROK = {"base": "grok-tiny"}


def dense(layers: int, width: int, **other: Any) -> dict[str, Any]:
    """A Llama-like network with heads of 64 and a vocabulary of 4096."""
    heads = max(width // 64, 1)
    return {
        "layers": layers,
        "width": width,
        "heads": heads,
        "kv_heads": heads,
        "head_size": 64,
        "feed_forward": 8 * width // 3 // 64 * 64,
        "vocabulary": 4096,
        "context": 2048,
        **other,
    }


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    model: dict[str, Any]
    precision: str = "bf16"
    compile: str = "none"
    optimiser: dict[str, Any] = field(default_factory=lambda: ADAMW)
    batch: int = 4096
    sequence: int = 256
    processes: int = 1
    layout: str | None = None

    @property
    def steps(self) -> int:
        """How long to run it."""
        return LONG if "base" in self.model else STEPS


CASES = (
    Case("experts 8 M, the demo's step", GROK, compile="functions", optimiser=MUON),
    Case("experts 8 M, AdamW", GROK, compile="functions"),
    Case("experts 8 M, not compiled", GROK, optimiser=MUON),
    Case("experts 8 M, fp32", GROK, "fp32", "functions"),
    Case("experts 8 M, fp32, not compiled", GROK, "fp32"),
    Case("experts 8 M, recompute full", GROK, layout="mb=16,recompute=full"),
    Case(
        "experts 8 M, recompute selective",
        GROK,
        compile="functions",
        layout="mb=16,recompute=selective",
    ),
    Case("experts 8 M, micro-batch 2", GROK, compile="functions", layout="mb=2"),
    Case("experts 8 M, rows of 1024", GROK | {"context": 1024}, compile="functions", sequence=1024),
    Case("dense 1 M", dense(4, 128, vocabulary=2048), optimiser=ADAMW),
    Case("dense 1 M, compiled", dense(4, 128, vocabulary=2048), compile="functions"),
    Case("dense 10 M", dense(6, 320)),
    Case("dense 10 M, compiled", dense(6, 320), compile="functions"),
    Case("dense 10 M, blocks compiled", dense(6, 320), compile="blocks"),
    Case("dense 10 M, fp32, Muon", dense(6, 320), "fp32", optimiser=MUON),
    Case("dense 40 M, fp32, micro-batch 1", dense(8, 576), "fp32", batch=2048, layout="mb=1"),
    Case(
        "dense 100 M, compiled, Muon",
        dense(12, 768, vocabulary=8192),
        compile="functions",
        optimiser=MUON,
        batch=2048,
    ),
    Case(
        "experts 60 M",
        GROK | {"width": 384, "heads": 6, "kv_heads": 2, "layers": 6, "expert_feed_forward": 1024},
        batch=2048,
    ),
    Case("2 processes, replicas", dense(6, 320), processes=2, layout="mb=8,zero=0"),
    Case("2 processes, zero 1", dense(6, 320), processes=2, layout="mb=4,zero=1"),
    Case("2 processes, zero 3", dense(6, 320), processes=2, layout="mb=4,zero=3"),
    Case(
        "2 processes, tp",
        dense(6, 320, heads=10, kv_heads=10, head_size=32),
        processes=2,
        layout="tp=2,mb=8",
    ),
    Case("2 processes, pp", dense(6, 320), processes=2, layout="pp=2,mb=4"),
    Case("2 processes, cp", dense(6, 320), processes=2, layout="cp=2,mb=8"),
    Case("2 processes, ep", GROK, processes=2, layout="ep=2,mb=8,zero=0"),
    Case(
        "2 processes, fp32, tp, experts",
        GROK | {"heads": 4, "kv_heads": 2, "head_size": 48},
        "fp32",
        processes=2,
        layout="tp=2,mb=8",
    ),
    Case("dense 10 M, rows of 1024", dense(6, 320), sequence=1024),
    Case("dense 10 M, rows of 512, micro-batch 2", dense(6, 320), sequence=512, layout="mb=2"),
    Case("dense 8 M, rows of 128", dense(3, 384), sequence=128),
    Case("dense 4 M, rows of 1024", dense(5, 192), sequence=1024),
    Case(
        "2 processes, pp, rows of 1024",
        dense(6, 320),
        processes=2,
        sequence=1024,
        layout="pp=2,mb=1",
    ),
    Case(
        "2 processes, replicas, rows of 512",
        dense(4, 256),
        processes=2,
        sequence=512,
        layout="mb=4,zero=0",
    ),
)


def corpus(folder: Path) -> Path:
    """Made-up conversations, so that no package and no time for a real corpus is needed."""
    dice = random.Random(0)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(2, 8))) for _ in range(3000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    text, lines = dice.choices(words, weights, k=WORDS), []
    while text:
        size = dice.randint(20, 400)
        lines.append(json.dumps({"text": " ".join(text[:size])}))
        text = text[size:]
    path = folder / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def description(case: Case, data: Path, steps: int) -> dict[str, Any]:
    """What a user would write."""
    return {
        "name": case.name,
        "model": case.model,
        "run": {
            "data": {"path": str(data)},
            "tokens": steps * case.batch,
            "batch": f"{case.batch} tokens",
            "sequence": case.sequence,
            "precision": case.precision,
            "compile": case.compile,
            "optimiser": case.optimiser,
            "checkpoint_every": 1_000_000,
        },
    }


def measure(case: Case, folder: Path, data: Path, steps: int) -> dict[str, Any]:
    """Run it; what it predicted and took."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(description(case, data, steps), sort_keys=False))
    command = [sys.executable, "-m", "opencolossus", "train", str(spec)]
    command += ["--out", str(folder / "run"), "--processes", str(case.processes)]
    command += ["--layout", case.layout] if case.layout else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"case": case.name, "error": done.stderr.strip().splitlines()[-1]}
    return compared(case, folder)


def compared(case: Case, folder: Path) -> dict[str, Any]:
    """What the law says of a run on the rates that it logged at its start, and what it took."""
    found = json.loads((folder / "run" / "result.json").read_text())
    seconds, held = read(folder / "run").priced(calibration.shipped())
    return {
        "case": case.name,
        "predicted_ms": 1e3 * seconds,
        "measured_ms": 1e3 * found["step_time"],
        "time_error": 100 * (seconds / found["step_time"] - 1),
        "predicted_gb": held / 1e9,
        "measured_gb": found["memory"] / 1e9,
        "memory_error": 100 * (held / found["memory"] - 1),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """For people."""
    shown = Table(title="predicted against measured, this machine")
    shown.add_column("run")
    for column in ("ms predicted", "measured", "error", "GB predicted", "measured", "error"):
        shown.add_column(column, justify="right")
    for row in rows:
        if "error" in row:
            shown.add_row(row["case"], row["error"])
            continue
        numbers = [f"{row[k]:,.0f}" for k in ("predicted_ms", "measured_ms")]
        numbers += [f"{row['time_error']:+.0f} %"]
        numbers += [f"{row[k]:.2f}" for k in ("predicted_gb", "measured_gb")]
        shown.add_row(row["case"], *numbers, f"{row['memory_error']:+.0f} %")
    return shown


def kept(file: Path | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """New rows, and those that the file has of other cases, in the order of the cases."""
    before = json.loads(file.read_text())["rows"] if file and file.exists() else []
    known = {row["case"]: row for row in [*before, *rows]}
    return [known[case.name] for case in CASES if case.name in known]


def main() -> None:
    """Run every case that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--mode", help="cases that compile this: none, functions, blocks")
    parser.add_argument("--runs", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--again", action="store_true", help="run nothing: price what --runs holds once more"
    )
    parser.add_argument("--steps", type=int, help="of every case; enough of each if left out")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        data = corpus(folder)
        for number, case in enumerate(CASES):
            if options.only not in case.name or options.mode not in (None, case.compile):
                continue
            place = folder / f"{number:02d}"
            if not options.again:
                rows.append(measure(case, place, data, options.steps or case.steps))
            elif (place / "run" / "result.json").exists():
                rows.append(compared(case, place))
            print(case.name, flush=True)
    Console().print(table(rows))
    found = [row for row in kept(options.json, rows) if "error" not in row]
    torch = versions("torch")["torch"]
    save(options.json, "here", processor(), software=f"torch {torch}", rows=found)


if __name__ == "__main__":
    main()
