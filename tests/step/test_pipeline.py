"""Closed forms of pipeline schedules against an event-driven simulation of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.step import pipeline
from tests.step.conftest import layouts

Task = tuple[str, int, int]  # kind, micro-batch, chunk


def run(orders: list[list[Task]], times: dict[str, list[float]]) -> float:
    """Play each stage's list of tasks in order; return when the last one ends.

    A forward waits for the stage (or chunk) before, a backward for the one behind; gradients of
    weights (W) wait for their own backward only.
    """
    stages, done = len(orders), {}
    chunks = 1 + max(chunk for order in orders for _, _, chunk in order)
    at, clock = [0] * stages, [0.0] * stages

    def needs(stage: int, task: Task) -> list[tuple[int, Task]]:
        kind, micro, chunk = task
        position = chunk * stages + stage
        last = chunks * stages - 1
        if kind == "F":
            if position == 0:
                return []
            return [((position - 1) % stages, ("F", micro, (position - 1) // stages))]
        if kind == "W":
            return [(stage, ("B", micro, chunk))]
        own = [(stage, ("F", micro, chunk))]
        if position == last:
            return own
        return [*own, ((position + 1) % stages, ("B", micro, (position + 1) // stages))]

    while any(at[s] < len(orders[s]) for s in range(stages)):
        moved = False
        for s in range(stages):
            while at[s] < len(orders[s]):
                task = orders[s][at[s]]
                wanted = needs(s, task)
                if any((place, what) not in done for place, what in wanted):
                    break
                start = max([clock[s], *[done[key] for key in wanted]])
                clock[s] = start + times[task[0]][s]
                done[(s, task)] = clock[s]
                at[s] += 1
                moved = True
        assert moved, "the order of tasks deadlocks"
    return max(clock)


def one_f_one_b(stages: int, micro: int) -> list[list[Task]]:
    """Warm-up, one forward one backward, cool-down (Narayanan et al. 2021, figure 4 top)."""
    orders = []
    for s in range(stages):
        warm = min(stages - s - 1, micro)
        order: list[Task] = [("F", i, 0) for i in range(warm)]
        for i in range(micro - warm):
            order += [("F", warm + i, 0), ("B", i, 0)]
        order += [("B", i, 0) for i in range(micro - warm, micro)]
        orders.append(order)
    return orders


def interleaved(stages: int, micro: int, chunks: int, size: int) -> list[list[Task]]:
    """Megatron-LM's interleaved order: groups of ``size`` micro-batches through each chunk."""
    total = micro * chunks

    def nth(kind: str, k: int) -> Task:
        group, inside = divmod(k, size * chunks)
        chunk = inside // size
        if kind == "B":
            chunk = chunks - 1 - chunk
        return (kind, group * size + inside % size, chunk)

    orders = []
    for s in range(stages):
        warm = min((stages - s - 1) * 2 + (chunks - 1) * size, total)
        order = [nth("F", k) for k in range(warm)]
        for k in range(total - warm):
            order += [nth("F", warm + k), nth("B", k)]
        order += [nth("B", k) for k in range(total - warm, total)]
        orders.append(order)
    return orders


def zero_bubble(stages: int, micro: int) -> list[list[Task]]:
    """ZB-H1: the forwards and backwards of 1F1B, and W put off by as many micro-batches as there
    are stages before, so that no stage holds more than 1F1B's first (Qi et al. 2023, figure 3)."""
    orders = []
    for s in range(stages):
        warm = min(stages - s, micro)
        order: list[Task] = [("F", i, 0) for i in range(warm)]
        for i in range(micro):
            order.append(("B", i, 0))
            if i >= s:
                order.append(("W", i - s, 0))
            if warm + i < micro:
                order.append(("F", warm + i, 0))
        order += [("W", i, 0) for i in range(max(micro - s, 0), micro)]
        orders.append(order)
    return orders


def zero_bubble_h2(stages: int, micro: int) -> list[float]:
    """ZB-H2 by a list scheduler: B first, then F while at most 2 (p - s) - 1 are ahead, W to fill
    what is left; no stage keeps more than 2p - 1 micro-batches. Seconds from each stage's first
    task to its last (Qi et al. 2023, section 3.2: equal F, B, W of one second)."""
    now, begun = [0.0] * stages, [-1.0] * stages
    done = [{"F": 0, "B": 0, "W": 0} for _ in range(stages)]
    inf = float("inf")
    ready_f = [[0.0] * micro if s == 0 else [inf] * micro for s in range(stages)]
    ready_b = [[inf] * micro for _ in range(stages)]
    while any(d["W"] < micro for d in done):
        offers = []
        for s, d in enumerate(done):
            if d["B"] < micro and ready_b[s][d["B"]] < inf:
                offers.append((max(now[s], ready_b[s][d["B"]]), 0, s, "B"))
            room = d["F"] - d["B"] < 2 * (stages - s) - 1 and d["F"] - d["W"] < 2 * stages - 1
            if d["F"] < micro and ready_f[s][d["F"]] < inf and room:
                offers.append((max(now[s], ready_f[s][d["F"]]), 1, s, "F"))
            if d["W"] < d["B"]:
                offers.append((now[s], 2, s, "W"))
        first = {}
        for offer in sorted(offers):
            first.setdefault(offer[2], offer)
        start, _, s, kind = min(first.values())
        d, i = done[s], done[s][kind]
        begun[s] = start if begun[s] < 0 else begun[s]
        now[s] = start + 1.0
        d[kind] += 1
        if kind == "F" and s + 1 < stages:
            ready_f[s + 1][i] = now[s]
        elif kind == "F":
            ready_b[s][i] = now[s]
        elif kind == "B" and s > 0:
            ready_b[s - 1][i] = now[s]
    return [now[s] - begun[s] for s in range(stages)]


def closed(
    stages: int, micro: int, chunks: int, schedule: float, f: float, b: float, w: float
) -> float:
    """The law's step time of equal stages."""
    one = layouts(pipeline=stages, virtual=chunks, batch=micro, schedule=schedule)
    work = np.array([f + b + w])
    idle = pipeline.bubble(one, work, work, np.array([f]) / work, np.array([w]) / work)
    return float(micro * work[0] + idle[0])


@settings(max_examples=40, deadline=None)
@given(
    stages=st.integers(1, 8),
    more=st.integers(0, 12),
    f=st.floats(0.5, 2.0),
    b=st.floats(0.5, 4.0),
)
def test_one_f_one_b_is_what_its_simulation_takes(
    stages: int, more: int, f: float, b: float
) -> None:
    micro = stages + more
    played = run(one_f_one_b(stages, micro), {"F": [f] * stages, "B": [b] * stages})
    assert closed(stages, micro, 1, 0.0, f, b, 0.0) == pytest.approx(played, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    stages=st.integers(2, 6),
    groups=st.integers(1, 4),
    chunks=st.integers(2, 4),
    b=st.floats(1, 3),
    extra=st.integers(0, 5),
)
def test_interleaving_divides_the_bubble_by_its_chunks(
    stages: int, groups: int, chunks: int, b: float, extra: int
) -> None:
    """Also with groups larger than the pipeline, which cost memory and no time."""
    size = stages + extra
    micro = size * groups
    orders = interleaved(stages, micro, chunks, size)
    times = {"F": [1.0 / chunks] * stages, "B": [b / chunks] * stages}
    played = run(orders, times)
    assert closed(stages, micro, chunks, 0.0, 1.0, b, 0.0) == pytest.approx(played, rel=1e-9)
    one = layouts(pipeline=stages, virtual=chunks, batch=micro, data=1)
    if pipeline.group(one)[0] == size:
        assert pipeline.in_flight(one)[0] == pytest.approx(held(orders[0]) / chunks)


def held(order: list[Task]) -> int:
    """Most chunks of micro-batches that a stage holds at once."""
    steps = np.cumsum([1 if kind == "F" else -1 for kind, _, _ in order])
    return int(steps.max())


@pytest.mark.parametrize(("stages", "micro"), [(2, 6), (4, 12), (6, 24), (8, 32)])
def test_zero_bubble_h1_leaves_what_its_closed_form_says(stages: int, micro: int) -> None:
    played = run(zero_bubble(stages, micro), {k: [1.0] * stages for k in "FBW"})
    assert closed(stages, micro, 1, 1.0, 1.0, 1.0, 1.0) == pytest.approx(played, rel=1e-9)
    assert played < closed(stages, micro, 1, 0.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(("stages", "micro"), [(2, 8), (4, 12), (8, 32)])
def test_zero_bubble_h2_leaves_no_stage_idle(stages: int, micro: int) -> None:
    spans = zero_bubble_h2(stages, micro)
    assert spans == pytest.approx([closed(stages, micro, 1, 2.0, 1.0, 1.0, 1.0)] * stages)


@settings(max_examples=25, deadline=None)
@given(stages=st.integers(2, 6), micro=st.integers(8, 24), slow=st.floats(1.05, 2.0))
def test_a_slow_last_stage_sets_the_pace(stages: int, micro: int, slow: float) -> None:
    """(m - 1) max + sum of all stages, with the slow stage at the end, where the head is."""
    f = [1.0] * (stages - 1) + [slow]
    b = [2.0] * (stages - 1) + [2 * slow]
    played = run(one_f_one_b(stages, micro), {"F": f, "B": b})
    one = layouts(pipeline=stages, batch=micro)
    work, mean = np.array([3 * slow]), np.array([(3 * (stages - 1) + 3 * slow) / stages])
    third = np.array([1 / 3])
    idle = pipeline.bubble(one, work, mean, third, np.array([0.0]))
    assert float(micro * work[0] + idle[0]) == pytest.approx(played, rel=1e-9)


def test_order_of_schedules_by_bubble() -> None:
    """DualPipe and ZB-H2 wait less than ZB-H1, and that less than 1F1B (equal F, B, W)."""
    times = [closed(8, 32, 1, schedule, 1.0, 1.0, 1.0) for schedule in (0.0, 1.0, 2.0)]
    assert times[0] > times[1] > times[2] == pytest.approx(32 * 3)


def test_a_permutation_of_equal_stages_changes_nothing() -> None:
    """Which stage is which does not matter while all do the same."""
    plain = run(one_f_one_b(4, 8), {"F": [1.0] * 4, "B": [2.0] * 4})
    assert plain == run(one_f_one_b(4, 8), {"F": [1.0, 1.0, 1.0, 1.0][::-1], "B": [2.0] * 4})


def test_the_first_stage_holds_as_many_micro_batches_as_stages() -> None:
    one = layouts(pipeline=8, batch=64, data=1)
    assert pipeline.in_flight(one)[0] == 8
    few = layouts(pipeline=8, batch=3, data=1)
    assert pipeline.in_flight(few)[0] == 3


@settings(max_examples=30, deadline=None)
@given(layers=st.integers(1, 130), stages=st.integers(1, 16), chunks=st.integers(1, 4))
def test_slots_hold_all_layers(layers: int, stages: int, chunks: int) -> None:
    one = layouts(pipeline=stages, virtual=chunks)
    full = float(pipeline.slots(np.asarray(float(layers)), one)[0])
    assert full * stages >= layers
    assert (full / chunks - 1) * chunks * stages < layers
