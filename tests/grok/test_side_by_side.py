"""Work shared out among threads."""

from __future__ import annotations

import threading

import pytest
import torch

from opencolossus.grok.native import side_by_side


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_everything_is_done_once(threads: int) -> None:
    done: list[int] = []
    side_by_side.run(done.append, 20, threads)
    assert sorted(done) == list(range(20))


@pytest.mark.skipif(not side_by_side.possible(), reason="no C++ compiler, or not GCC's OpenMP")
def test_threads_share_it_and_have_one_each() -> None:
    """The second piece starts before the first has ended, and products do not spread further."""
    both = threading.Barrier(2, timeout=30)
    seen: dict[int, torch.Tensor] = {}

    def work(i: int) -> None:
        both.wait()
        seen[i] = torch.full((64, 64), float(i)) @ torch.ones(64, 64)

    side_by_side.run(work, 2, 2)
    assert {i: x[0, 0].item() for i, x in seen.items()} == {0: 0.0, 1: 64.0}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fault_comes_through(threads: int) -> None:
    def work(i: int) -> None:
        if i == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        side_by_side.run(work, 5, threads)
