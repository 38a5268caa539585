"""Blocks compiled one by one (PyTorch's regional compilation): one graph serves them all.

Messages between processes break the graph. So do the experts: each new set of row counts would be
compiled anew.
"""

from __future__ import annotations

import torch

from opencolossus.grok.experts import Experts
from opencolossus.grok.model import Grok
from opencolossus.train.parallel.collectives import eager

VARIANTS = 16
"""Graphs that each block may need: with and without gradients, other shapes."""


def compile_blocks(network: Grok, backend: str = "inductor") -> None:
    """Compile each block's forward pass at its first use, and its gradient with it."""
    config = torch._dynamo.config
    # What is put around blocks for parallelism makes each block a variant of its own.
    config.recompile_limit = max(config.recompile_limit, VARIANTS * len(network.blocks))
    for experts in (module for module in network.modules() if isinstance(module, Experts)):
        experts.forward = eager(experts.forward)  # type: ignore[method-assign]
    for block in network.blocks.values():
        block.forward = torch.compile(block.forward, backend=backend)
