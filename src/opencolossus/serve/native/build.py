"""Compiling `forward.cpp` for this machine, once; later starts find the result."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from opencolossus.grok.native import build

SOURCE = Path(__file__).parent / "forward.cpp"


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled network.

    Raises:
        NoCompilerError: it cannot be compiled here.
    """
    loaded = build.load(SOURCE)
    whole, address = ctypes.c_int64, ctypes.c_void_p
    loaded.panel_width.restype = whole
    loaded.forward.restype = None
    loaded.forward.argtypes = [
        address, whole, address, address, address, whole, address, address,
    ]  # fmt: skip
    return loaded
