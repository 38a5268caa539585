"""Blocks compiled one by one (PyTorch's regional compilation): one graph serves them all.

Messages between processes break the graph, and so do the experts, whose row counts change.
"""

from __future__ import annotations

import torch

from opencolossus.grok.model import Grok

VARIANTS = 16
"""Graphs that each block may need: with and without gradients, other shapes."""


def compile_blocks(network: Grok, backend: str = "inductor") -> None:
    """Compile each block's forward pass at its first use, and its gradient with it."""
    config = torch._dynamo.config
    # What is put around blocks for parallelism makes each block a variant of its own.
    config.recompile_limit = max(config.recompile_limit, VARIANTS * len(network.blocks))
    for block in network.blocks.values():
        block.forward = torch.compile(block.forward, backend=backend)
