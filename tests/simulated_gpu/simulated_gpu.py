"""PyTorch with the GPU of ``device.cpp``, for a process that starts with this folder on its path.

The device must be there before PyTorch asks for one, hence a process of its own. What Python asks
of the driver (names, capabilities, streams) is answered here, as by one H100.

Environment: ``SIMULATED_GPU`` is the compiled device; with ``SIMULATED_COMPILER`` everything that
is compiled goes through that backend of PyTorch's, since there is no Triton to compile with.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TORCH = Path(importlib.util.find_spec("torch").origin).parent  # type: ignore[union-attr, arg-type]
ctypes.CDLL(str(TORCH / "lib" / "libtorch_cpu.so"), ctypes.RTLD_GLOBAL)
DEVICE = ctypes.CDLL(os.environ["SIMULATED_GPU"])
DEVICE.simulated_most_memory.restype = DEVICE.simulated_calls.restype = ctypes.c_int64

import torch  # noqa: E402

UUID = "5331a1e5-0000-4000-8000-000000000001"
NAME = "NVIDIA H100 80GB HBM3"
WAITS = (
    "to host",
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::bincount",
    "aten::_unique2",
)
"""Calls for which the host waits until the GPU has done everything before them."""


def calls(name: str) -> int:
    """How often the device was asked for an operation so far."""
    return int(DEVICE.simulated_calls(name.encode()))


def waits() -> int:
    """How often the host has waited for the device so far."""
    return sum(calls(name) for name in WAITS)


def _compile_with(backend: str) -> Any:
    compile_ = torch.compile
    return lambda model=None, **options: compile_(model, **{**options, "backend": backend})


def _install() -> None:
    properties = SimpleNamespace(
        name=NAME, uuid=UUID, total_memory=80 << 30, major=9, minor=0, multi_processor_count=132
    )
    properties.gcnArchName = "sm_90"
    answers: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: NAME,
        "get_device_properties": lambda device=None: properties,
        "max_memory_allocated": lambda device=None: DEVICE.simulated_most_memory(),
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
        "current_stream": lambda device=None: torch.accelerator.current_stream(),
        "set_stream": lambda stream: None,
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device=None: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch._C._cuda_getDevice = lambda: 0  # type: ignore[attr-defined]
    torch._C._cuda_exchangeDevice = lambda device: 0  # type: ignore[attr-defined]
    torch._C._cuda_maybeExchangeDevice = lambda device: 0  # type: ignore[attr-defined]
    backend = os.environ.get("SIMULATED_COMPILER")
    if backend:
        torch.compile = _compile_with(backend)


_install()
