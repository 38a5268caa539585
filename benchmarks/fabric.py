"""How long an all-reduce between all servers takes to simulate, up to a million ports.

    python benchmarks/fabric.py [--json FILE]

Every row runs in a process of its own, so that its peak of memory is its own. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import record
from rich.console import Console
from rich.table import Table

from opencolossus.fabric import collectives, network
from opencolossus.specs import catalog

GPUS = (1024, 8192, 98_304, 524_288)
SIZES = (1e4, 1e9)


def one(gpus: int) -> dict[str, float]:
    """CPU seconds and bytes to build the network and simulate both algorithms at two sizes."""
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    node = catalog.entry("nodes", "hgx-h100-bf3")
    fabric = catalog.entry("fabrics", "spectrum-x-400")
    start = time.process_time()
    net = network.build(node, fabric, gpus)
    order = np.arange(net.servers)
    found = [collectives.all_reduce(net, order, size) for size in SIZES]
    return {
        "ports": float(net.ports),
        "cpu_seconds": time.process_time() - start,
        "bytes": 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle),
        "small_seconds": found[0].seconds,
        "large_seconds": found[1].seconds,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one)))
        return
    command = [sys.executable, __file__, "--one"]
    rows = [json.loads(subprocess.check_output([*command, str(gpus)])) for gpus in GPUS]
    shown = [
        {
            "ports": f"{row['ports']:,.0f}",
            "cpu seconds": round(row["cpu_seconds"], 3),
            "mb": round(row["bytes"] / 1e6),
            "10 kB takes": f"{row['small_seconds'] * 1e6:.0f} µs",
            "1 GB takes": f"{row['large_seconds'] * 1e3:.2f} ms",
        }
        for row in rows
    ]
    table = Table(*shown[0], box=None)
    for row in shown:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    record.save(asked.json, "fabric", record.processor(), rows=shown)


if __name__ == "__main__":
    main()
