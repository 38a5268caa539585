"""The shuffle is a permutation for every size and key, and looks like a random one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.data.shuffle import permute

KEYS = st.integers(0, 2**64 - 1)


@given(st.integers(1, 3000), KEYS, st.integers(0, 50))
def test_is_a_bijection(n: int, seed: int, epoch: int) -> None:
    assert sorted(permute(np.arange(n), n, seed, epoch).tolist()) == list(range(n))


@given(st.integers(2, 10**12), KEYS, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_any_part_can_be_computed_alone(n: int, seed: int, picks: list[int]) -> None:
    index = np.array(picks) % n
    together = permute(index, n, seed, 0)
    assert ((together >= 0) & (together < n)).all()
    assert together.tolist() == [
        int(permute(index[i : i + 1], n, seed, 0)[0]) for i in range(len(index))
    ]


def test_epochs_and_seeds_give_unrelated_orders() -> None:
    n = 10_000
    index = np.arange(n)
    orders = [permute(index, n, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    for i, one in enumerate(orders):
        # A random permutation has one fixed point on average (variance 1) and rank correlation
        # of standard deviation 1/sqrt(n) with any other.
        assert (one == index).sum() < 8
        assert abs(np.corrcoef(one, index)[0, 1]) < 0.05
        for other in orders[i + 1 :]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


def test_neighbours_do_not_stay_neighbours() -> None:
    order = permute(np.arange(10_000), 10_000, 3, 0)
    assert (np.abs(np.diff(order)) == 1).sum() < 12


def test_the_order_is_the_same_in_every_release() -> None:
    """Runs under way depend on it: this may change only with a new name."""
    assert permute(np.arange(10), 10, 0, 0).tolist() == ORDER_0_0
    assert permute(np.arange(10), 10, 7, 3).tolist() == ORDER_7_3


ORDER_0_0 = [2, 5, 6, 1, 7, 3, 0, 8, 4, 9]
ORDER_7_3 = [3, 1, 7, 5, 2, 0, 6, 4, 9, 8]
