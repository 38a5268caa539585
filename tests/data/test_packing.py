"""Packing keeps every prediction once, never overfills a row, and packs as tightly as it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.data.packing import best_fit, pack

LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=80)


@given(LENGTHS, st.integers(64, 100))
def test_rows_hold_every_piece_once_and_are_not_overfull(lengths: list[int], room: int) -> None:
    sizes = np.array(lengths)
    order, rows = best_fit(sizes, room)
    assert sorted(order.tolist()) == list(range(len(sizes)))
    filled = np.add.reduceat(sizes[order], rows[:-1])
    assert (filled <= room).all()
    assert rows[0] == 0
    assert rows[-1] == len(sizes)
    assert (np.diff(rows) > 0).all()


@given(LENGTHS, st.integers(64, 100))
def test_equals_best_fit_decreasing_piece_by_piece(lengths: list[int], room: int) -> None:
    """The reference: the textbook algorithm, one piece at a time."""
    left: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [n for n, space in enumerate(left) if space >= length]
        if fitting:
            left[min(fitting, key=lambda n: left[n])] -= length
        else:
            left.append(room - length)
    sizes = np.array(lengths)
    order, rows = best_fit(sizes, room)
    filled = np.add.reduceat(sizes[order], rows[:-1])
    assert sorted(room - filled) == sorted(left)


@given(st.lists(st.integers(2, 300), min_size=1, max_size=40), st.integers(1, 50))
def test_every_prediction_of_every_document_once(tokens: list[int], sequence: int) -> None:
    counts = np.array(tokens)
    starts = np.cumsum(counts) - counts
    packing = pack(starts, counts, sequence)
    targets = [
        start + 1 + n
        for start, length in zip(packing.starts, packing.lengths, strict=True)
        for n in range(length)
    ]
    assert sorted(targets) == [
        s + n for s, c in zip(starts, counts, strict=True) for n in range(1, c)
    ]
    assert packing.predictions == len(targets)
    met = [length for length in packing.lengths.tolist() for _ in range(length)]
    assert packing.document == pytest.approx(sum(met) / len(met)), "of the piece around a token"
    # no more cuts than needed: a document fills whole pieces, and at most one shorter one
    assert len(packing.lengths) == sum(-(-(count - 1) // sequence) for count in tokens)


def test_real_lengths_leave_less_than_a_thousandth_empty() -> None:
    rng = np.random.default_rng(0)
    counts = rng.lognormal(6, 1.2, 20_000).astype(np.int64) + 2
    packing = pack(np.cumsum(counts) - counts, counts, 1024)
    assert packing.predictions / (len(packing) * 1024) > 0.999
