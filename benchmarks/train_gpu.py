"""Training speed on one GPU: a dense model of 1 B parameters, and 8 experts with 1.3 B active.

    python benchmarks/train_gpu.py [--only dense|experts] [--json FILE]

Ours beside Hugging Face (Llama, Mixtral) and a plain PyTorch loop compiled as a whole, one after
the other in processes of their own, each in the modes that fit. Prints tokens per second, the
share of the GPU's dense bf16 peak that the model's own products are (MFU; attention counted
causally, nothing recomputed), and power and clock as NVML tells them. Without a GPU it says so;
`--device cpu` runs the same with models of a few thousand parameters, to see that it works.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record
import torch
from train_cpu import ratios
from train_runner import OURS, Entry, Runner, Setting

from opencolossus.power.meter import Nvml, Reading
from opencolossus.specs.errors import UserError
from opencolossus.train.precision import gpu_flops

JOBS = {"dense": "gpu-dense", "experts": "gpu-experts"}
MODES = (("bf16", True), ("bf16", False), ("autocast", True))


class Watch:
    """Power and clock of the GPU while something runs, ten times a second."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.reason = ""
        try:
            self._meter = Nvml()
        except UserError as error:
            self.reason = str(error)

    def __enter__(self) -> Watch:
        if not self.reason:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if not self.reason:
            self._thread.join()

    def means(self) -> dict[str, float]:
        """Mean power in W and clock in MHz; empty where nothing could be read."""
        if not self.readings:
            return {}
        count = len(self.readings)
        return {
            "power_w": sum(r.power for r in self.readings) / count,
            "clock_mhz": sum(r.clock for r in self.readings) / count / 1e6,
        }

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.readings.append(self._meter.read())


def measure(group: str, options: argparse.Namespace, peak: float | None) -> Iterator[Entry]:
    """Every contender in every mode, one process at a time: they fill the GPU's memory."""
    from train_peers import BUILDERS
    from train_peers import JOBS as SHAPES

    name = "tiny" if options.device == "cpu" else JOBS[group]
    job = SHAPES[name]
    setting = Setting(name, options.device, threads=1, peers=options.peers, patience=600)
    for contender in BUILDERS[group]:
        for kind, compiled in MODES:
            if contender == OURS and kind == "autocast":
                continue
            entry = Entry(group, contender, kind, compiled)
            runner = Runner(entry, setting)
            runner.run(options.warmup, job.tokens)
            entry.wall.clear()
            entry.cpu.clear()
            with Watch() as watch:
                for _ in range(options.steps):
                    runner.run(1, job.tokens)
            runner.close()
            entry.extra |= watch.means()
            if peak and entry.wall:
                work = job.flops_per_token(group)
                entry.extra["mfu"] = entry.median("wall") * work / peak
            print(
                f"  measured {contender}, {entry.mode} {entry.error}", file=sys.stderr, flush=True
            )
            yield entry


def table(group: str, entries: list[Entry]) -> str:
    """The results as text."""
    rows = [
        f"\n{group}: {'':<24}{'mode':<30}{'parameters':>11}{'tokens/s':>10}{'MFU':>7}"
        f"{'power':>8}{'clock':>10}{'first step':>12}"
    ]
    for e in entries:
        start = f"  {e.name:<32}{e.mode:<30}"
        if not e.wall:
            rows.append(start + e.error)
            continue
        extra = e.extra
        mfu = f"{extra['mfu']:.1%}" if "mfu" in extra else "-"
        power = f"{extra['power_w']:.0f} W" if "power_w" in extra else "-"
        clock = f"{extra['clock_mhz']:.0f} MHz" if "clock_mhz" in extra else "-"
        rows.append(
            f"{start}{extra['parameters'] / 1e6:>9,.1f} M{e.median('wall'):>10,.0f}{mfu:>7}"
            f"{power:>8}{clock:>10}{e.first:>10.1f} s"
        )
    for r in [r for r in ratios(best(entries)) if r["by"] == "by the clock"]:
        rows.append(f"  {r['ratio']:.2f}x the best of {r['among']} ({r['to']})")
    return "\n".join(rows)


def best(entries: list[Entry]) -> list[Entry]:
    """The fastest mode of each contender."""
    found: dict[str, Entry] = {}
    for e in entries:
        if e.wall and (e.name not in found or e.median("wall") > found[e.name].median("wall")):
            found[e.name] = e
    return list(found.values())


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", choices=list(JOBS))
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peers", help="folder with packages of peers, as train_cpu.py has it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("train_gpu: there is no GPU here that PyTorch can use; try --device cpu, tiny")
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    hardware = torch.cuda.get_device_name(device) if cuda else record.processor()
    peak = gpu_flops(device, torch.bfloat16) if cuda else None
    watch = Watch()
    print(f"{hardware}, torch {torch.__version__}" + (f"; {watch.reason}" if watch.reason else ""))
    groups: dict[str, Any] = {}
    for group in [options.only] if options.only else list(JOBS):
        entries = list(measure(group, options, peak))
        print(table(group, entries), flush=True)
        rows = [{**e.plain(), "mode": e.mode} for e in entries]
        groups[group] = {"measured": rows, "ratios": ratios(best(entries))}
        software = f"torch {torch.__version__}"
        record.save(options.json, "train_gpu", hardware, software=software, groups=groups)


if __name__ == "__main__":
    main()
