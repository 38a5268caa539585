"""What the planner says of this machine, and what runs on it then take: time and memory.

    python benchmarks/here.py [--only TEXT] [--runs DIR] [--steps N] [--json FILE]

Each case is a short run of `colossus train` in a process of its own; the prediction is the one
that the run logged before its first step. Prints a table; nothing is asserted. Wants a machine
with nothing else at work, and takes a quarter of an hour.
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

STEPS = 16
WORDS = 400_000
ADAMW, MUON = {"name": "adamw"}, {"name": "muon"}
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
    found = json.loads((folder / "run" / "result.json").read_text())
    return {
        "case": case.name,
        "predicted_ms": 1e3 * (found["predicted_step_time"] or float("nan")),
        "measured_ms": 1e3 * found["step_time"],
        "time_error": error(found["predicted_step_time"], found["step_time"]),
        "predicted_gb": (found["predicted_memory"] or float("nan")) / 1e9,
        "measured_gb": found["memory"] / 1e9,
        "memory_error": error(found["predicted_memory"], found["memory"]),
    }


def error(predicted: float | None, measured: float) -> float | None:
    """Relative, in percent; None where nothing was predicted."""
    return None if predicted is None else 100 * (predicted / measured - 1)


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
        numbers += [percent(row["time_error"])]
        numbers += [f"{row[k]:.2f}" for k in ("predicted_gb", "measured_gb")]
        shown.add_row(row["case"], *numbers, percent(row["memory_error"]))
    return shown


def percent(value: float | None) -> str:
    """With its sign."""
    return "-" if value is None else f"{value:+.0f} %"


def main() -> None:
    """Run every case that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--runs", type=Path, help="folder to keep the runs in")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        data = corpus(folder)
        for number, case in enumerate(CASES):
            if options.only in case.name:
                rows.append(measure(case, folder / f"{number:02d}", data, options.steps))
                print(json.dumps(rows[-1]), flush=True)
    Console().print(table(rows))
    save(options.json, "here", processor(), software=str(versions("torch")), rows=rows)


if __name__ == "__main__":
    main()
