"""Models, machines and layouts that the tests of the law share."""

from __future__ import annotations

import numpy as np
import pytest

from opencolossus.plan import machines
from opencolossus.specs import calibration, catalog
from opencolossus.step.layouts import Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape


@pytest.fixture(scope="session")
def h100() -> Machine:
    """An H100 server on InfiniBand, in 16 bits."""
    node, fabric = catalog.entry("nodes", "hgx-h100"), catalog.entry("fabrics", "quantum-2-ndr")
    return machines.machine(node, fabric, "bf16", calibration.shipped())


@pytest.fixture(scope="session")
def nemo() -> Code:
    """Megatron-Core of 2024."""
    software = catalog.entry("software", "nemo-2024")
    return machines.code(software, calibration.shipped(), "bf16")


@pytest.fixture(scope="session")
def llama() -> Shape:
    """Llama 3 70B at 8,192 tokens."""
    return Shape.of(catalog.entry("models", "llama3-70b"), 8192)


@pytest.fixture(scope="session")
def deepseek() -> Shape:
    """DeepSeek-V3 at 4,096 tokens."""
    return Shape.of(catalog.entry("models", "deepseek-v3"), 4096)


def layouts(**changes: object) -> Layouts:
    """One layout, all dimensions 1 unless told."""
    values: dict[str, object] = {
        "tensor": 1,
        "context": 1,
        "pipeline": 1,
        "virtual": 1,
        "expert": 1,
        "data": 1,
        "micro_batch": 1,
        "batch": 1,
        "zero": 1,
        "recompute": 0,
        "recompute_share": 1,
        "schedule": 0,
        "expert_tensor": 1,
        "shard_group": 0,
    }
    values.update(changes)
    size = max(np.size(v) for v in values.values())  # type: ignore[arg-type]
    return Layouts.make(
        **{
            k: np.broadcast_to(np.asarray(v, dtype=float), (size,)).copy()
            for k, v in values.items()
        }
    )
