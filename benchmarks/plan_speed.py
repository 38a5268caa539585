"""How fast layouts are priced, and how long a plan takes.

    python benchmarks/plan_speed.py

Prints a table; nothing is asserted. Pricing is in CPU seconds of one core, the command in seconds
of the wall (other work on the machine makes it longer).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from opencolossus.plan import lattice
from opencolossus.plan.pricing import Pricing
from opencolossus.specs import calibration, catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.counts import divisors
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


def main() -> None:
    """Print the table."""
    table = Table(title="Planner speed on one core", title_justify="left", box=None)
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("wanted", justify="right")
    best = min((gpt3_on_4096() for _ in range(REPEATS)), key=lambda r: r[1])
    listed, priced, count = best
    table.add_row("layouts of GPT-3 175B on 4,096 H100", f"{count:,}", "about 1,000,000")
    table.add_row("memory, time and power of each", f"{count / priced:,.0f} /s", "1,000,000 /s")
    table.add_row("whole space, listed and priced", f"{listed + priced:.2f} s", "2 s")
    table.add_row(
        "colossus plan examples/memphis.yaml",
        f"{min(plan_wall() for _ in range(REPEATS)):.2f} s",
        "1 s",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table.add_row("peak memory", f"{peak:,.0f} MiB", "1,000 MiB")
    Console().print(table)
    Console().print(f"load average {os.getloadavg()[0]:.1f}", style="dim")


if __name__ == "__main__":
    main()
