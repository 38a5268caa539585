"""DualPipe played event by event against its closed form (DeepSeek-V3 report 2024, figure 5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from opencolossus.step import pipeline
from opencolossus.step.layouts import DUALPIPE
from tests.step.conftest import layouts

Work = list[tuple[str, int]]
"""What a rank does at once: passes F, B (inputs alone), A (a whole backward) or W of a way."""


class Seconds(NamedTuple):
    """Of a forward pass, and of the gradients of inputs and of weights."""

    forward: float
    inputs: float
    weights: float


def order(rank: int, ranks: int, micro: int) -> list[Work]:
    """What one rank does: eight phases, of ways 0 (its own nearer end first) and 1."""
    half, near = ranks // 2, min(rank, ranks - 1 - rank)
    left = half - near - 1
    done: list[Work] = [[("F", 0)]] * (2 * left)
    done += [[("F", 0)], [("F", 1)]] * (near + 1)
    done += [[("B", 1)], [("W", 1)], [("F", 1)]] * left
    pairs = micro // 2 - ranks + near + 1
    for i in range(pairs):
        # the two ranks in the middle hand their first micro-batch to each other
        first = [[("F", 0)], [("A", 1)]] if i == 0 and near == half - 1 else [[("F", 0), ("A", 1)]]
        done += [*first, [("F", 1), ("A", 0)]]
    done += [[("A", 1)], [("F", 1), ("A", 0)]] * left
    alone, late = near + 1, False
    for i in range(alone):
        late = late or (i == alone // 2 and near % 2 == 1)
        done.append([("B" if late else "A", 1)])
        late = late or (i == alone // 2 and near % 2 == 0)
        done.append([("B" if late else "A", 0)])
    done += [[("W", 0)], [("B", 0)]] * left
    return done + [[("W", 0)]] * alone


def play(ranks: int, micro: int, s: Seconds) -> list[float]:
    """Seconds in which each rank waits between its first and its last pass."""
    lasts = {"F": s.forward, "B": s.inputs, "A": s.inputs + s.weights, "W": s.weights}
    orders = [order(rank, ranks, micro) for rank in range(ranks)]
    arrived: dict[tuple[str, int, int, int], float] = {}
    clock, busy, at = [0.0] * ranks, [0.0] * ranks, [0] * ranks
    begun: list[float | None] = [None] * ranks
    counts = [{(kind, way): 0 for kind in "FB" for way in (0, 1)} for _ in range(ranks)]

    def needs(rank: int, kind: str, way: int) -> tuple[str, int, int, int] | None:
        """The message that a pass waits for: its way counted from rank 0, and its number."""
        if kind == "W":
            return None
        down = way ^ (rank >= ranks // 2)  # 0 goes from rank 0 up
        back = kind in "BA"
        number = counts[rank][("B" if back else "F", way)]
        step = (-1 if down == 0 else 1) * (-1 if back else 1)
        before = rank + step
        if not 0 <= before < ranks:
            return ("F", rank, down, number) if back else None
        return ("B" if back else "F", before, down, number)

    while any(at[rank] < len(orders[rank]) for rank in range(ranks)):
        moved = False
        for rank in range(ranks):
            while at[rank] < len(orders[rank]):
                work = orders[rank][at[rank]]
                wanted = [w for kind, way in work if (w := needs(rank, kind, way))]
                if any(w not in arrived for w in wanted):
                    break
                start = max([clock[rank], *(arrived[w] for w in wanted)])
                begun[rank] = start if begun[rank] is None else begun[rank]
                length = sum(lasts[kind] for kind, _ in work)
                clock[rank] = start + length
                busy[rank] += length
                for kind, way in work:
                    if kind != "W":
                        back = "B" if kind in "BA" else "F"
                        down = way ^ (rank >= ranks // 2)
                        arrived[(back, rank, down, counts[rank][(back, way)])] = clock[rank]
                        counts[rank][(back, way)] += 1
                at[rank] += 1
                moved = True
        assert moved, "the schedule waits for itself"
    assert all(c[key] == micro // 2 for c in counts for key in c)
    return [max(clock) - b for b in busy]


@pytest.mark.parametrize(("ranks", "micro"), [(4, 16), (8, 20), (8, 40), (16, 48)])
def test_dualpipe_leaves_what_its_closed_form_says(ranks: int, micro: int) -> None:
    s = Seconds(1.0, 1.0, 1.0)
    idle = play(ranks, micro, s)
    one = layouts(pipeline=ranks, batch=micro, schedule=DUALPIPE)
    work = np.array([sum(s)])
    closed = pipeline.bubble(one, work, work, s.forward / work, s.weights / work)
    assert float(closed[0]) == pytest.approx(max(idle), abs=1e-9)
