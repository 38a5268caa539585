"""What all blocks of one forward pass share: positions, visibility, rotary tables, the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from opencolossus.grok.rotary import rotary_tables
from opencolossus.specs.model import Model


class CacheStep(Protocol):
    """The part of a key-value cache that one forward pass reads and extends."""

    @property
    def positions(self) -> Tensor:
        """Positions [B, T] of the new tokens."""

    @property
    def key_positions(self) -> Tensor:
        """Positions [B, S] of the keys that `extend` returns, -1 where there is none."""

    def extend(self, layer: int, keys_BNTK: Tensor, values_BNTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values; give all of them, [B, N, S, K] each."""


@dataclass(frozen=True)
class Tokens:
    """Where the queries (or keys) of a batch stand.

    ``positions`` [B or 1, T] count from 0 in each document. ``documents`` [B or 1, T] name the
    document; None where every row is one document.
    """

    positions: Tensor
    documents: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """What the blocks need beside the activations."""

    positions: Tensor
    """Of the tokens, [B or 1, T]."""
    mask: Tensor | None
    """Visible keys [B or 1, 1, T, S] of each query; None: as ``causal`` says."""
    first: Tensor | None
    """Where each query sees exactly the keys from this index to its own: [B, T]."""
    causal: bool
    """No key behind the query's own index is visible; ``mask`` may then restrict further."""
    rotary: tuple[Tensor, Tensor] | None = None
    temperature: Tensor | None = None
    """Factor [B or 1, 1, T, 1] of the scores after the soft cap (Grok-2)."""
    cache: CacheStep | None = None


def packed(documents_BT: Tensor) -> Tokens:
    """Tokens of documents laid end to end: a new one starts wherever the id changes."""
    index = torch.arange(documents_BT.shape[1], device=documents_BT.device).expand_as(documents_BT)
    starts = torch.ones_like(documents_BT, dtype=torch.bool)
    starts[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    positions = index - torch.cummax(torch.where(starts, index, 0), dim=1).values
    # Counted afresh, so that an id that comes back later in the row is another document.
    return Tokens(positions, starts.cumsum(dim=1))


def _firsts(tokens: Tokens, rows: int) -> Tensor:
    """Index [B, T] (int32) of the first token of each one's document."""
    index = torch.arange(tokens.positions.shape[1], device=tokens.positions.device)
    return (index - tokens.positions).int().expand(rows, -1)


def visible(queries: Tokens, keys: Tokens) -> Tensor:
    """Mask [B or 1, 1, T, S]: keys of the same document at or before the query's position.

    Keys at a negative position do not exist.
    """
    query = queries.positions[:, :, None]
    key = keys.positions[:, None, :]
    mask = (key <= query) & (key >= 0)
    if queries.documents is not None and keys.documents is not None:
        mask = mask & (queries.documents[:, :, None] == keys.documents[:, None, :])
    return mask[:, None]


def temperatures(positions_BT: Tensor, length: int) -> Tensor:
    """Grok-2's attention temperature [B, 1, T, 1]: log(p) / log(length) past ``length``, else 1."""
    positions = positions_BT.float()
    factor = torch.where(
        positions > length, positions.clamp(min=1).log() / math.log(length), positions.new_ones(())
    )
    return factor[:, None, :, None]


def build_context(
    model: Model,
    shape: tuple[int, int],
    device: torch.device,
    *,
    positions: Tensor | None = None,
    documents: Tensor | None = None,
    keys: Tokens | None = None,
    key_mask: Tensor | None = None,
    cache: CacheStep | None = None,
) -> Context:
    """Join what a caller knows about its batch of ``shape`` [B, T].

    Args:
        positions: [B or 1, T]; counted from ``documents``, the cache or 0 if left out.
        documents: ids [B or 1, T] of packed documents; no attention crosses them.
        keys: where the keys stand if they are not those of the queries (context parallel).
        key_mask: [B, S], False for keys that no query sees (padding). A row whose visible keys
            are all masked attends to every position alike, as Grok-1 does.
        cache: keys and values of earlier tokens; names the positions itself.

    With ``keys``, ``positions`` (and ``documents``) of the queries must be given too.
    """
    plain = positions is None and keys is None and key_mask is None and cache is None
    if cache is not None:
        queries, keys = Tokens(cache.positions), Tokens(cache.key_positions)
    elif positions is not None:
        queries = Tokens(positions, documents)
    elif documents is not None:
        queries = packed(documents)
    else:
        queries = Tokens(torch.arange(shape[1], device=device)[None])
    mask = None
    if not plain or documents is not None:
        mask = visible(queries, keys or queries)
    if key_mask is not None and mask is not None:
        mask = mask & key_mask[:, None, None, :]
    rope, length = model.positions == "rope", model.attention_temperature_length
    tables = rotary_tables(queries.positions, model.head_size, model.rope_base) if rope else None
    return Context(
        positions=queries.positions,
        mask=mask,
        first=_firsts(queries, shape[0]) if plain else None,
        causal=plain,
        rotary=tables,
        temperature=temperatures(queries.positions, length) if length else None,
        cache=cache,
    )
