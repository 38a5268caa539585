"""What a benchmark measured, as a JSON file that `performance.py` makes a page from."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from opencolossus.plan.facts import cores, cpu_name
from opencolossus.specs.files import write_atomic


def processor() -> str:
    """The processor's name and how many of its cores are ours."""
    return f"{cpu_name()}, {cores()} cores"


def versions(*packages: str) -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(path: Path | None, benchmark: str, hardware: str, **results: Any) -> None:
    """Write the results with date, hardware and load; nothing where no path is given."""
    if path is None:
        return
    head = {
        "benchmark": benchmark,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware,
        "load": [round(x, 1) for x in os.getloadavg()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**head, **results}, indent=1) + "\n")
