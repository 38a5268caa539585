"""The type that the network computes in."""

from __future__ import annotations

import torch

from opencolossus.grok import fused
from opencolossus.plan import mode
from opencolossus.plan.mode import Compiling
from opencolossus.specs.errors import UserError
from opencolossus.specs.gpu_names import by_driver_name
from opencolossus.specs.hardware import Precision
from opencolossus.specs.model import Model
from opencolossus.specs.run import Run
from opencolossus.train import probe

TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp8": torch.bfloat16,
}
"""What the trainer computes in, but for linear layers in float8; weights, gradients' sums and
optimiser states stay fp32."""


def compute_type(wanted: Precision, device: torch.device) -> torch.dtype:
    """The type to compute in: as wanted, but fp32 on a CPU whose bf16 products are no faster.

    Raises:
        UserError: training in this precision is not built.
    """
    if wanted not in TYPES:
        known = ", ".join(TYPES)
        raise UserError(f"run.precision {wanted} can be planned but not trained here; use {known}")
    if device.type != "cpu":
        return TYPES[wanted]
    return TYPES[mode.on_cpu(wanted, lambda: probe.found().gain)]


def planned(run: Run, dtype: torch.dtype) -> Precision:
    """What a planner calls the precision of a run that computes in ``dtype``."""
    if run.precision == "fp8":
        return "fp8"
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def compiles(run: Run, model: Model, device: torch.device) -> Compiling:
    """What to compile: as described, or what pays on the device.

    Raises:
        UserError: the description asks for what this machine cannot do.
    """
    if run.compile not in ("auto", "none") and not _can_compile(device):
        raise UserError(
            f"run.compile {run.compile}: nothing can be compiled here (torch.compile failed on "
            "one line; a C++ compiler is needed, on a GPU Triton too); set it to none"
        )
    return mode.compiled(run, model, device.type == "cpu", lambda: _can_compile(device))


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


def gpu_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Dense peak of the GPU by the catalog, in FLOP/s; None where it does not know the name."""
    gpu = by_driver_name(torch.cuda.get_device_name(device))
    if gpu is None:
        return None
    return gpu.flops.get("bf16" if dtype == torch.bfloat16 else "fp32")
