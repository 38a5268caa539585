"""How fast the twin plays: a site's half year, and a million GPUs for a year.

Prints seconds of processor time and the peak of memory. The plans are searched by the planner;
what it takes is printed beside the rest.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

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
    """All GPUs are there from the first day on, and the run never ends."""
    given = load(EXAMPLES / "million.yaml").description
    assert given.cluster is not None
    pools = {
        name: pool.model_copy(update={"deliveries": ()})
        for name, pool in given.cluster.pools.items()
    }
    start, end = date(2026, 10, 1), date(2027, 9, 30)
    run = given.run.model_copy(update={"tokens": 1e18, "start": start})
    return given.model_copy(
        update={
            "cluster": given.cluster.model_copy(update={"pools": pools}),
            "run": run,
            "calendar": Calendar(start=start, end=end),
        }
    )


def measure(name: str) -> str:
    """Play one example; return a row of numbers."""
    description = whole() if name == "whole" else load(EXAMPLES / f"{name}.yaml").description
    watched = Watched()
    begin = time.process_time()
    record = simulate(description, planner=watched)
    total = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    hours, failures = record.hours.size, record.failures["time"].size
    gpus = int(record["gpus.job"].max())
    return f"{gpus} {hours} {failures} {watched.searches} {watched.seconds} {total} {memory}"


def main() -> None:
    """Measure every case in a process of its own, so that memory is its own too."""
    table = Table(title="The twin on one core", title_justify="left")
    for column in ("", "GPUs", "hours", "failures", "plans", "planning, s", "all, s", "memory, MB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, text in CASES.items():
        command = [sys.executable, __file__, name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        gpus, hours, failures, searches, planning, total, memory = map(float, found)
        table.add_row(
            text,
            f"{gpus:,.0f}",
            f"{hours:,.0f}",
            f"{failures:,.0f}",
            f"{searches:.0f}",
            f"{planning:.2f}",
            f"{total:.2f}",
            f"{memory / 1e6:.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
    else:
        main()
