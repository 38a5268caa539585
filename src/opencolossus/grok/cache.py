"""Keys and values of earlier tokens, in slots, so that requests of any age share one batch.

A slot is a ring of ``capacity`` tokens. Positions go on counting past it, and each new token then
takes the place of the oldest: a query sees the last ``capacity`` tokens at their true distance
(rotary scores depend on distances alone). What the dropped tokens had told the deeper layers of
later ones stays. Models with learned positions cannot go past their context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model


class Cache:
    """Keys and values of all layers for ``slots`` sequences of up to ``capacity`` tokens each."""

    def __init__(
        self,
        model: Model,
        slots: int,
        capacity: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model = model
        self.capacity = capacity or model.context
        shape = (slots, model.kv_heads, self.capacity, model.head_size)
        layers = range(model.layers)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.positions = torch.full((slots, self.capacity), -1, device=device)
        self.lengths = [0] * slots
        """Tokens that each slot has seen."""

    def step(self, slots: Sequence[int], counts: Sequence[int]) -> Step:
        """Make room for ``counts[i]`` more tokens in slot ``slots[i]``, for one forward pass.

        The tokens of the pass are [len(slots), max(counts)], padded on the right; what the pass
        computes for padding is to be ignored.

        Raises:
            UserError: more tokens at once than a slot holds, or past learned positions.
        """
        for slot, count in zip(slots, counts, strict=True):
            self._check(slot, count)
        step = Step.of(self, slots, counts)
        self.positions[step.slot_M, step.place_M] = step.positions[step.row_M, step.column_M]
        for slot, count in zip(slots, counts, strict=True):
            self.lengths[slot] += count
        return step

    def free(self, slot: int) -> None:
        """Forget the sequence of a slot."""
        self.truncate(slot, 0)

    def truncate(self, slot: int, length: int) -> None:
        """Keep the first ``length`` tokens of a slot, as when two requests share a beginning.

        Raises:
            ValueError: the slot has seen fewer tokens, or some of these have been dropped.
        """
        if length > self.lengths[slot] or (length and self.lengths[slot] > self.capacity):
            raise ValueError(f"slot {slot} of {self.lengths[slot]} tokens cannot keep {length}")
        self.positions[slot, length:] = -1
        self.lengths[slot] = length

    def _check(self, slot: int, count: int) -> None:
        if not 1 <= count <= self.capacity:
            raise UserError(
                f"{count} tokens at once do not fit a cache of {self.capacity}; "
                f"give between 1 and {self.capacity}"
            )
        end = self.lengths[slot] + count
        if self.model.positions == "learned" and end > self.model.context:
            raise UserError(
                f"a sequence of {end} tokens is longer than the model's learned positions; "
                f"at most {self.model.context} are possible"
            )


@dataclass(frozen=True)
class Step:
    """One forward pass over some slots of a cache; see `Cache.step`.

    The M new tokens stand at (``row_M``, ``column_M``) of the batch and go to (``slot_M``,
    ``place_M``) of the cache.
    """

    cache: Cache
    slots: slice | Tensor
    span: int
    positions: Tensor
    row_M: Tensor
    column_M: Tensor
    slot_M: Tensor
    place_M: Tensor

    @classmethod
    def of(cls, cache: Cache, slots: Sequence[int], counts: Sequence[int]) -> Step:
        """Work out the places, on the host, in one go."""
        device = cache.positions.device
        starts = [cache.lengths[slot] for slot in slots]
        start_B = torch.tensor(starts)
        count_B = torch.tensor(list(counts))
        positions = start_B[:, None] + torch.arange(int(count_B.max()))
        real_BT = torch.arange(positions.shape[1]) < count_B[:, None]
        row_M, column_M = real_BT.nonzero(as_tuple=True)
        slot_M = torch.tensor(list(slots))[row_M]
        place_M = positions[row_M, column_M] % cache.capacity
        longest = max(start + count for start, count in zip(starts, counts, strict=True))
        return cls(
            cache=cache,
            slots=_compact(slots, device),
            span=min(longest, cache.capacity),
            positions=positions.to(device),
            row_M=row_M.to(device),
            column_M=column_M.to(device),
            slot_M=slot_M.to(device),
            place_M=place_M.to(device),
        )

    @property
    def key_positions(self) -> Tensor:
        """Positions [B, S] of the keys that `extend` gives, -1 where there is none."""
        return self.cache.positions[self.slots][:, : self.span]

    def extend(self, layer: int, keys_BNTK: Tensor, values_BNTK: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of a layer; give all of these slots, [B, N, S, K] each."""
        return (
            self._store(self.cache.keys[layer], keys_BNTK),
            self._store(self.cache.values[layer], values_BNTK),
        )

    def _store(self, kept: Tensor, new_BNTK: Tensor) -> Tensor:
        kept[self.slot_M, :, self.place_M] = new_BNTK.transpose(1, 2)[self.row_M, self.column_M].to(
            kept.dtype
        )
        return kept[self.slots][:, :, : self.span].to(new_BNTK.dtype)


def _compact(slots: Sequence[int], device: torch.device) -> slice | Tensor:
    """Neighbouring slots as a slice, which reads the cache without a copy."""
    first = slots[0]
    if list(slots) == list(range(first, first + len(slots))):
        return slice(first, first + len(slots))
    return torch.tensor(list(slots), device=device)
