"""How fast layouts are priced, and how long a plan takes.

    python benchmarks/plan_speed.py [--json FILE]

Prints a table; nothing is asserted. Pricing is in CPU seconds of one core, the command in seconds
of the wall (other work on the machine makes it longer).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from record import processor, save
from rich.console import Console
from rich.table import Table

from opencolossus.plan import lattice
from opencolossus.plan.pricing import Pricing
from opencolossus.plan.search import search
from opencolossus.specs import calibration, catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.counts import divisors
from opencolossus.specs.load import load
from opencolossus.specs.run import Run

EXAMPLE = Path(__file__).parents[1] / "examples" / "memphis.yaml"
REPEATS = 3


def gpt3_on_4096() -> tuple[float, float, int]:
    """CPU seconds to list and to price the space of GPT-3 175B on 4,096 H100, and its size.

    Wider than what the planner tries: every divisor of the heads as tensor ranks, every depth,
    micro-batches that are no powers of two, ZeRO-0, and all schedules.
    """
    model = catalog.entry("models", "gpt3-175b")
    run = Run(tokens=300e9, batch=2048 * 1536, sequence=2048)
    pool = Pool(node=catalog.entry("nodes", "hgx-h100"), gpus=4096)
    fabric = catalog.entry("fabrics", "quantum-2-ndr")
    cluster = Cluster(pools={"h100": pool}, fabric=fabric)
    software = catalog.entry("software", "nemo-2024")
    pricing = Pricing.of(model, run, cluster, pool, software, calibration.shipped())
    schedules = ("1f1b", "zb-h1", "zb-h2", "dualpipe")
    start = time.process_time()
    grid = replace(
        lattice.axes(model, run, pool.node, 4096, schedules),
        tensor=[d for d in divisors(model.heads) if d <= 32],
        context=[1, 2, 4, 8],
        pipeline=range(1, model.layers + 1),
        micro_batch=[1, 2, 3, 4, 6, 8, 12, 16],
        zero=[0, 1, 2, 3],
    )
    layouts = lattice.lattice(grid, model.layers, run.batch_sequences, 4096)
    listed = time.process_time()
    pricing.price(layouts, 700.0, 4096)
    return listed - start, time.process_time() - listed, int(layouts.tensor.size)


def plan_wall() -> float:
    """Seconds of ``colossus plan examples/memphis.yaml``, Python's start included."""
    code = "from opencolossus.cli import main; main()"
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, "plan", str(EXAMPLE)], check=True, capture_output=True
    )
    return time.perf_counter() - start


def searched(name: str, day: date) -> tuple[float, int]:
    """CPU seconds to plan an example once, without what surrounds a plan, and GPUs at work."""
    description = load(EXAMPLE.parent / f"{name}.yaml").description
    start = time.process_time()
    plan = search(description, day=day, detail=False)
    return time.process_time() - start, plan.gpus


def rows() -> list[dict[str, Any]]:
    """What was measured beside what is wanted."""
    # the command first: what it is forked from counts as its memory until it starts
    wall = min(plan_wall() for _ in range(REPEATS))
    command = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    listed, priced, count = min((gpt3_on_4096() for _ in range(REPEATS)), key=lambda r: sum(r[:2]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    one, _ = min(searched("memphis", date(2024, 7, 22)) for _ in range(REPEATS))
    kinds, gpus = min(searched("million", date(2027, 1, 5)) for _ in range(REPEATS))

    def row(what: str, measured: float, unit: str, wanted: float | None) -> dict[str, Any]:
        return {"what": what, "measured": measured, "unit": unit, "wanted": wanted}

    return [
        row("layouts of GPT-3 175B on 4,096 H100", count, "layouts", 1_000_000),
        row("memory, time and power of each", round(count / priced), "layouts/s", 1_000_000),
        row("whole space, listed and priced", listed + priced, "s", 2),
        row("its peak memory", round(peak), "MiB", 1000),
        row("colossus plan examples/memphis.yaml, Python's start included", wall, "s", 1),
        row("its peak memory", round(command), "MiB", 1000),
        row("one search for Memphis, as the simulator asks", one, "s", None),
        row(f"one search for the million's four kinds ({gpus:,} work)", kinds, "s", None),
    ]


def main() -> None:
    """Print the table, and keep it where asked."""
    parser = argparse.ArgumentParser(description="How fast layouts are priced.")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    asked = parser.parse_args()
    found = rows()
    table = Table(title="Planner speed on one core", title_justify="left", box=None)
    table.add_column("what")
    for name in ("measured", "wanted"):
        table.add_column(name, justify="right")
    for row in found:
        shown = [
            "-" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,}"
            for value in (row["measured"], row["wanted"])
        ]
        table.add_row(row["what"], *(f"{text} {row['unit']}" for text in shown))
    Console().print(table)
    Console().print(f"load average {os.getloadavg()[0]:.1f}", style="dim")
    save(asked.json, "plan_speed", processor(), rows=found)


if __name__ == "__main__":
    main()
