"""Activation checkpointing: none, of attention scores, or of whole blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from opencolossus.grok.attention import Core
from opencolossus.grok.block import Block
from opencolossus.grok.model import Grok
from opencolossus.grok.router import Router
from opencolossus.specs.run import Layout


def apply(network: Grok, layout: Layout) -> None:
    """Forget activations and compute them again in the backward pass (Chen et al. 2016).

    ``selective``: of the attention scores only (Korthikanti et al. 2022, section 5).
    """
    if layout.recompute == "none":
        return
    kind: type[nn.Module] = Block if layout.recompute == "full" else Core
    for module in [m for m in network.modules() if isinstance(m, kind)]:
        routers = [m for m in module.modules() if isinstance(m, Router)]
        again = partial(
            checkpoint,
            module.forward,
            use_reentrant=False,
            context_fn=partial(_contexts, routers),
        )
        # Around compiled blocks, and between the compiled parts of one: never inside a graph.
        module.forward = torch.compiler.disable(again, recursive=False)


def _contexts(
    routers: list[Router],
) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), _uncounted(routers)


@contextmanager
def _uncounted(routers: list[Router]) -> Iterator[None]:
    """Tokens that pass a router a second time are not counted again."""
    before = [router.load.clone() for router in routers]
    try:
        yield
    finally:
        for router, load in zip(routers, before, strict=True):
            router.load.copy_(load)
