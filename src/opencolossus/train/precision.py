"""The type that the network computes in."""

from __future__ import annotations

import math
import time
from typing import Literal

import torch
from torch import Tensor

from opencolossus.grok import fused
from opencolossus.specs import catalog
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Gpu, Precision
from opencolossus.specs.model import Model
from opencolossus.specs.run import Run

TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp8": torch.bfloat16,
}
"""What the trainer computes in, but for linear layers in float8; weights, gradients' sums and
optimiser states stay fp32."""
Compiling = Literal["none", "functions", "blocks"]
WORTH = 1.1
"""bf16 must be so much faster than fp32 on a CPU to be used there."""
EARNED_BACK = 150.0
"""Seconds of training after which compiling (about 20 s of two cores, once a machine) has paid."""
SLOW = 100e9
"""FLOP/s that even a small model reaches on two cores, for a guess at how long a run takes."""


def compute_type(wanted: Precision, model: Model, device: torch.device) -> torch.dtype:
    """The type to compute in: as wanted, but fp32 on a CPU where a trial finds bf16 slower.

    Raises:
        UserError: training in this precision is not built.
    """
    if wanted not in TYPES:
        known = ", ".join(TYPES)
        raise UserError(f"run.precision {wanted} can be planned but not trained here; use {known}")
    if wanted == "bf16" and device.type == "cpu":
        gain = _seconds(torch.float32, model) / _seconds(torch.bfloat16, model)
        return torch.bfloat16 if gain > WORTH else torch.float32
    return TYPES[wanted]


def planned(run: Run, dtype: torch.dtype) -> Precision:
    """What a planner calls the precision of a run that computes in ``dtype``."""
    if run.precision == "fp8":
        return "fp8"
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def compiles(run: Run, model: Model, device: torch.device) -> Compiling:
    """What to compile: as described, or what pays on the device.

    On a GPU whole blocks, on a CPU the small functions between matrix products of a run long
    enough to earn that back: there, compiled blocks were no faster (docs/decisions.md).

    Raises:
        UserError: the description asks for what this machine cannot do.
    """
    if run.compile != "auto":
        if run.compile != "none" and not _can_compile(device):
            raise UserError(
                f"run.compile {run.compile}: nothing can be compiled here (torch.compile failed on "
                "one line; a C++ compiler is needed, on a GPU Triton too); set it to none"
            )
        return run.compile
    if device.type != "cpu":
        return "blocks" if _can_compile(device) else "none"
    work = run.tokens * model.training_flops_per_token(run.sequence)
    expected = min(run.time_limit or math.inf, work / SLOW)
    return "functions" if expected > EARNED_BACK and fused.available() else "none"


def _can_compile(device: torch.device) -> bool:
    """Found out by trying a function of one line."""
    if device.type == "cpu":
        return fused.available()
    try:
        torch.compile(torch.exp)(torch.zeros(4, device=device))
    except Exception:  # whatever a missing compiler, driver or Triton raises
        return False
    return True


def stays_fp32(name: str) -> bool:
    """Whether a parameter is never rounded: routers choose in fp32, norms scale in fp32."""
    return "router" in name or "norm" in name


def matmul_rate(dtype: torch.dtype, seconds: float = 0.2) -> float:
    """FLOP/s of a large matrix product on the CPU, the best of several: its practical peak."""
    a = torch.randn(1024, 1024).to(dtype)
    best = min(_timed(a, a) for _ in range(2))
    repeats = max(int(seconds / best), 3)
    return 2 * 1024.0**3 / min(_timed(a, a) for _ in range(repeats))


def gpu_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Dense peak of the GPU by the catalog, in FLOP/s; None where it does not know the name."""
    name = torch.cuda.get_device_name(device)
    for entry in catalog.names("gpus"):
        gpu: Gpu = catalog.entry("gpus", entry)
        key = gpu.name.replace("NVIDIA ", "").split()[0]
        if key in name:
            return gpu.flops.get("bf16" if dtype == torch.bfloat16 else "fp32")
    return None


def _seconds(dtype: torch.dtype, model: Model) -> float:
    inner = max(model.expert_feed_forward, model.feed_forward)
    x = torch.randn(1024, model.width).to(dtype)
    w = torch.randn(model.width, inner).to(dtype)
    return min(_timed(x, w) for _ in range(10))


def _timed(a: Tensor, b: Tensor) -> float:
    start = time.perf_counter()
    _ = a @ b
    return time.perf_counter() - start
