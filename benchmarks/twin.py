"""How fast the twin plays: a site's half year, and a million GPUs for a year.

Prints seconds of processor time and the peak of memory. The plans are searched by the planner;
what it takes is printed beside the rest.

    python benchmarks/twin.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from record import processor, save
from rich.console import Console
from rich.table import Table

from opencolossus.specs.document import Calendar, Description
from opencolossus.specs.load import load
from opencolossus.twin import planner
from opencolossus.twin.operating import Operating
from opencolossus.twin.simulate import simulate

EXAMPLES = Path(__file__).parent.parent / "examples"
CASES = {
    "memphis": "Memphis, July to December 2024",
    "million": "the million: build-out and run of 2026",
    "whole": "a million GPUs at work for a year",
}


class Watched:
    """The planner, with a clock."""

    def __init__(self) -> None:
        self.searches, self.seconds = 0, 0.0

    def __call__(
        self, description: Description, day: date, limit: float, ready: dict[str, int], pue: float
    ) -> Operating:
        begin = time.process_time()
        try:
            return planner.Searched()(description, day, limit, ready, pue)
        finally:
            self.searches += 1
            self.seconds += time.process_time() - begin


def whole() -> Description:
    """A million GPUs of one kind from the first day on, with power and places for all."""
    given = load(EXAMPLES / "million.yaml").description
    cluster, site = given.cluster, given.site
    assert cluster is not None
    assert site is not None
    assert site.halls is not None
    kind = max(cluster.pools.values(), key=lambda pool: pool.gpus)
    gpus = -(-1_000_000 // kind.node.gpus) * kind.node.gpus
    pools = {"all": kind.model_copy(update={"gpus": gpus, "deliveries": ()})}
    plant = site.power["southaven-gigawatt"].model_copy(update={"count": 80})
    start, end = date(2026, 10, 1), date(2027, 9, 30)
    return given.model_copy(
        update={
            "site": site.model_copy(
                update={
                    "power": site.power | {"southaven-gigawatt": plant},
                    "halls": site.halls.model_copy(update={"count": 50}),
                }
            ),
            "cluster": cluster.model_copy(update={"pools": pools}),
            "run": given.run.model_copy(update={"tokens": 1e18, "start": start}),
            "calendar": Calendar(start=start, end=end),
        }
    )


def measure(name: str) -> dict[str, Any]:
    """Play one example; return what it took."""
    description = whole() if name == "whole" else load(EXAMPLES / f"{name}.yaml").description
    watched = Watched()
    begin = time.process_time()
    record = simulate(description, planner=watched)
    total = time.process_time() - begin
    return {
        "case": CASES[name],
        "gpus": int(record["gpus.job"].max()),
        "hours": int(record.hours.size),
        "failures": int(record.failures["time"].size),
        "plans": watched.searches,
        "planning_s": round(watched.seconds, 3),
        "total_s": round(total, 3),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(title="The twin on one core", title_justify="left")
    columns = {
        "GPUs": "gpus",
        "hours": "hours",
        "failures": "failures",
        "plans": "plans",
        "planning, s": "planning_s",
        "all, s": "total_s",
        "memory, MB": "memory_mb",
    }
    table.add_column("")
    for title in columns:
        table.add_column(title, justify="right")
    for row in rows:
        values = [row[key] for key in columns.values()]
        shown = [f"{v:.2f}" if isinstance(v, float) else f"{v:,}" for v in values]
        table.add_row(row["case"], *shown)
    Console(width=120).print(table)


def main() -> None:
    """Measure every case in a process of its own, so that memory is its own too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one)))
        return
    rows = []
    for name in CASES:
        command = [sys.executable, __file__, "--one", name]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows.append(json.loads(found))
    show(rows)
    save(asked.json, "The twin on one core", processor(), rows=rows)


if __name__ == "__main__":
    main()
