"""Pieces of work in Python that threads share out, each with one thread for its own products."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from opencolossus.grok.native import functions

_Work = ctypes.CFUNCTYPE(None, ctypes.c_int64)


def possible() -> bool:
    """Whether the library's threads are those of PyTorch: both from GCC's OpenMP.

    Another one's, clang's for example, would not keep products from spreading over all cores.
    """
    library = functions.library()
    if library is None or hasattr(library, "__kmpc_fork_call"):
        return False
    return hasattr(library, "GOMP_parallel")


def run(work: Callable[[int], None], count: int, threads: int) -> None:
    """Call ``work(0)`` to ``work(count - 1)``, with one thread in their order.

    They run on the threads of PyTorch's own products, which would get in the way of others. What
    is raised in one is raised here, after all have ended.
    """
    library = functions.library() if threads > 1 and possible() else None
    if library is None:
        for i in range(count):
            work(i)
        return
    faults: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as fault:  # C++ cannot pass it on
            faults.append(fault)

    library.side_by_side(_Work(guarded), ctypes.c_int64(count), ctypes.c_int64(threads))
    if faults:
        raise faults[0]
