"""Moving sequences between the slots of a key-value cache."""

from __future__ import annotations

from opencolossus.grok.cache import Cache


def swap(cache: Cache, left: int, right: int) -> None:
    """Exchange two slots; only the parts in use are copied.

    Sequences that run together are kept in neighbouring slots this way, so that a forward pass
    reads a view of the cache.
    """
    if left == right:
        return
    span = min(max(cache.lengths[left], cache.lengths[right]), cache.capacity)
    for kept in (*cache.keys, *cache.values):
        moved = kept[left, :, :span].clone()
        kept[left, :, :span] = kept[right, :, :span]
        kept[right, :, :span] = moved
    positions = cache.positions[left].clone()
    cache.positions[left] = cache.positions[right]
    cache.positions[right] = positions
    cache.lengths[left], cache.lengths[right] = cache.lengths[right], cache.lengths[left]
