"""What drivers call the GPUs of the catalog.

As ``nvidia-smi --query-gpu=name``, NVML and PyTorch print it. Whole names, since parts mislead: an
RTX PRO 6000 is a "Blackwell" too, and an instance of a divided H100 has the H100's name before its
own size.
"""

from __future__ import annotations

from opencolossus.specs import catalog
from opencolossus.specs.hardware import Gpu

NAMES = {
    "Tesla V100-SXM2-32GB": "v100-sxm",
    "NVIDIA A100-SXM4-80GB": "a100-80",
    "NVIDIA A100-SXM4-40GB": "a100-40",
    "NVIDIA H100 80GB HBM3": "h100-sxm",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H800": "h800",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
    "NVIDIA GB200": "gb200",
    "NVIDIA GB300": "gb300",
    "AMD Instinct MI300X": "mi300x",
}


def by_driver_name(name: str) -> Gpu | None:
    """The GPU that a driver calls so; None where the catalog has none of the name."""
    entry = NAMES.get(name.strip())
    return None if entry is None else catalog.entry("gpus", entry)
