"""Blocks compiled one by one (PyTorch's regional compilation): one graph serves them all.

Messages between processes break the graph. So do the experts: each new set of row counts would be
compiled anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config

from opencolossus.grok.experts import Experts
from opencolossus.grok.fused import why
from opencolossus.grok.model import Grok
from opencolossus.train.parallel.collectives import eager

log = logging.getLogger(__name__)

VARIANTS = 16
"""Graphs that each block may need: with and without gradients, other shapes."""


def compile_blocks(network: Grok, backend: str = "inductor") -> None:
    """Compile each block's forward pass at its first use, and its gradient with it.

    Where that fails, with a kernel that does not fit the GPU for one, the blocks run as written,
    and a warning says why.
    """
    # Else a gradient that cannot be compiled would be found out in the backward pass, too late.
    torch._functorch.config.force_non_lazy_backward_lowering = True
    config = torch._dynamo.config
    # What is put around blocks for parallelism makes each block a variant of its own.
    config.recompile_limit = max(config.recompile_limit, VARIANTS * len(network.blocks))
    for experts in (module for module in network.modules() if isinstance(module, Experts)):
        experts.forward = eager(experts.forward)  # type: ignore[method-assign]
    working = _Working()
    for block in network.blocks.values():
        compiled = torch.compile(block.forward, backend=backend)
        block.forward = working.or_written(compiled, block.forward)


class _Working:
    """Whether compiling has not failed yet."""

    def __init__(self) -> None:
        self._so_far = True

    def or_written(
        self, compiled: Callable[..., Any], written: Callable[..., Any]
    ) -> Callable[..., Any]:
        """The compiled function; from the first failure of any on, the one that was written."""

        def run(*args: Any, **options: Any) -> Any:
            if self._so_far:
                try:
                    return compiled(*args, **options)
                except torch._dynamo.exc.TorchDynamoException as error:
                    self._so_far = False
                    log.warning("blocks run uncompiled, which is slower: %s", why(error))
            return written(*args, **options)

        return run
