"""Tensor, sequence, expert and context parallelism, put around a network's own modules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from opencolossus.grok.attention import Attention, Core
from opencolossus.grok.context import Context
from opencolossus.grok.embedding import Embedding
from opencolossus.grok.experts import Experts
from opencolossus.grok.feed_forward import FeedForward
from opencolossus.grok.head import Head
from opencolossus.grok.model import Grok
from opencolossus.grok.router import Router
from opencolossus.train.parallel.collectives import exchange, gather, part, scatter_sum, sum_once
from opencolossus.train.parallel.groups import Groups

SEQUENCE = 1
"""Axis of tokens in [B, T, D]."""
M = TypeVar("M", bound=nn.Module)
KEYS = 2
"""Axis of keys in [B, N, S, K]."""


def apply(network: Grok, groups: Groups) -> None:
    """Put all of it around ``network``, in the documented order."""
    if groups.tensor.size > 1:
        _tensor_parallel(network, groups)
    if groups.experts.size > 1:
        for experts in _all(network, Experts):
            _expert_parallel(experts, groups)
    if groups.context.size > 1:
        for core in _all(network, Core):
            _context_parallel(core, groups)
    if groups.tensor.size > 1 or groups.context.size > 1:
        for router in _all(network, Router):
            router.sum_over_sequence = partial(_sum_over_sequence, groups=groups)


def _all(network: Grok, kind: type[M]) -> list[M]:
    return [module for module in network.modules() if isinstance(module, kind)]


def _tensor_parallel(network: Grok, groups: Groups) -> None:
    """Cut heads and inner sizes; between them, tokens of a row are spread over the ranks.

    Sequence parallelism of Korthikanti et al. 2022, section 4.2.2: gather tokens before a cut
    product, scatter the sum after it. Embedding, norms, router and head see a part of the tokens.
    """
    for attention in _all(network, Attention):
        _between_gather_and_scatter(attention, groups)
        _add_bias_once(attention.output, groups)
    for feed_forward in _all(network, FeedForward):
        _between_gather_and_scatter(feed_forward, groups)
        _add_bias_once(feed_forward.down, groups)
    for embedding in _all(network, Embedding):
        _on_own_tokens(embedding, groups)
    for head in _all(network, Head):
        _on_own_targets(head, groups)


def _between_gather_and_scatter(module: nn.Module, groups: Groups) -> None:
    inner: Callable[..., Tensor] = module.forward

    def forward(x_BTD: Tensor, *rest: Any) -> Tensor:
        whole = gather(x_BTD, SEQUENCE, groups.tensor)
        return scatter_sum(inner(whole, *rest), SEQUENCE, groups.tensor)

    module.forward = forward


def _add_bias_once(linear: nn.Linear, groups: Groups) -> None:
    """Each rank holds all of the bias of a cut product, and adds its share: the sum has it once."""
    inner, others = linear.forward, 1 - 1 / groups.tensor.size

    def forward(x_BTI: Tensor) -> Tensor:
        return inner(x_BTI) - others * linear.bias

    if linear.bias is not None:
        linear.forward = forward  # type: ignore[method-assign, assignment]


def _on_own_tokens(embedding: Embedding, groups: Groups) -> None:
    inner = embedding.forward

    def forward(tokens_BT: Tensor, positions_BT: Tensor) -> Tensor:
        own = partial(part, dim=SEQUENCE, group=groups.tensor)
        return inner(own(tokens_BT), own(positions_BT))

    embedding.forward = forward  # type: ignore[method-assign]


def _on_own_targets(head: Head, groups: Groups) -> None:
    inner = head.forward

    def forward(x_BTD: Tensor, targets_BT: Tensor | None = None) -> Any:
        own = None if targets_BT is None else part(targets_BT, SEQUENCE, groups.tensor)
        return inner(x_BTD, own)

    head.forward = forward  # type: ignore[method-assign]


def _sum_over_sequence(x_BE: Tensor, groups: Groups) -> Tensor:
    return sum_once(sum_once(x_BE, groups.tensor), groups.context)


def _context_parallel(core: Core, groups: Groups) -> None:
    """Queries stay; keys and values of the whole row are gathered (Llama 3 2024, section 3.3.2)."""
    inner = core.forward

    def forward(q_BHTK: Tensor, k_BNSK: Tensor, v_BNSK: Tensor, context: Context) -> Tensor:
        keys, values = (gather(x, KEYS, groups.context) for x in (k_BNSK, v_BNSK))
        return inner(q_BHTK, keys, values, context)

    core.forward = forward  # type: ignore[method-assign]


def _expert_parallel(experts: Experts, groups: Groups) -> None:
    """Send each row to the rank that holds its expert, and back (Lepikhin et al. 2020, GShard)."""
    inner, group = experts.forward, groups.experts

    def forward(x_MD: Tensor, counts_E: Tensor) -> Tensor:
        counts_RE = counts_E.view(group.size, -1)
        theirs_RE = _exchange_counts(counts_RE, groups)
        sent, received = counts_RE.sum(1).tolist(), theirs_RE.sum(1).tolist()
        rows_MD = exchange(x_MD, sent, received, group)
        order_M = _by_expert(theirs_RE)
        out_MD = inner(rows_MD[order_M], theirs_RE.sum(0))
        return exchange(out_MD[order_M.argsort()], received, sent, group)

    experts.forward = forward  # type: ignore[method-assign]


def _exchange_counts(counts_RE: Tensor, groups: Groups) -> Tensor:
    """Rows [ranks, own experts] that each rank sends here."""
    ones = [1] * groups.experts.size
    return exchange(counts_RE, ones, ones, groups.experts)


def _by_expert(theirs_RE: Tensor) -> Tensor:
    """Order that brings rows, which come by rank and then by expert, to expert first."""
    ranks, experts = theirs_RE.shape
    labels = torch.arange(experts, device=theirs_RE.device).repeat(ranks)
    return labels.repeat_interleave(theirs_RE.flatten()).argsort(stable=True)
