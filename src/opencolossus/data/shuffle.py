"""Shuffling that needs no memory: a keyed permutation of 0..n-1, computed where it is asked for.

A balanced Feistel network (Luby and Rackoff 1988) over the smallest even number of bits that
holds n, walked until it lands below n (cycle walking; Black and Rogaway 2002). Its round function
is the finaliser of SplitMix64 (Steele, Lea and Flood 2014). Unlike NumPy's ``permutation``, it is
the same in every release, costs nothing to store for 10^9 rows, and any rank computes its part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_ROUNDS = 6


def permute(index: NDArray[np.int64], n: int, *key: int) -> NDArray[np.int64]:
    """Where the keyed permutation of 0..n-1 sends each ``index``; a bijection for every key."""
    half = max((n - 1).bit_length() + 1, 2) // 2
    keys = _round_keys(key)
    out = _feistel(index.astype(np.uint64), half, keys)
    while (outside := out >= n).any():
        out[outside] = _feistel(out[outside], half, keys)
    return out.astype(np.int64)


def _feistel(words: Words, half: int, keys: Words) -> Words:
    bits, low = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = words >> bits, words & low
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & low)
    return (left << bits) | right


def _round_keys(key: tuple[int, ...]) -> Words:
    state = np.zeros(1, np.uint64)
    for part in key:
        state = _mix(state ^ np.uint64(part % 2**64))
    return _mix(state ^ np.arange(1, _ROUNDS + 1, dtype=np.uint64))


def _mix(words: Words) -> Words:
    """The SplitMix64 step; arithmetic is modulo 2^64 by intent."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Words = words ^ (words >> np.uint64(31))
    return mixed
