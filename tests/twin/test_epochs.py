"""When the plan is searched again, and when it changes."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from twin_planner import plain

from opencolossus.specs.cluster import Delivery
from opencolossus.specs.document import Description
from opencolossus.twin.epochs import boundaries
from opencolossus.twin.operating import Operating
from opencolossus.twin.planner import Remembered
from opencolossus.twin.simulate import simulate


def test_boundaries_are_where_supply_or_fleet_change() -> None:
    limit = np.array([1.0, 1, 1, 2, 2, 2])
    ready = np.array([[0.0, 8, 8, 8, 8, 8], [0.0, 0, 0, 0, 0, 4]])
    assert boundaries(limit, ready, 0).tolist() == [0, 1, 3, 5]
    assert boundaries(limit, ready, 4).tolist() == [0, 1, 3, 4, 5]


def growing(small: Description) -> Description:
    assert small.cluster is not None
    pool = small.cluster.pools["h100"]
    lots = tuple(
        Delivery(date=date(2024, 7, 1) + timedelta(days=5 * i), gpus=1024) for i in range(4)
    )
    pools = {"h100": pool.model_copy(update={"gpus": 4096, "deliveries": lots})}
    return small.model_copy(update={"cluster": small.cluster.model_copy(update={"pools": pools})})


def test_the_job_grows_with_the_fleet(small: Description) -> None:
    record = simulate(growing(small), planner=plain)
    assert record["gpus.job"][[0, 130, 250, 370]].tolist() == [1024, 2048, 3072, 4096]
    assert [e.kind for e in record.events].count("plan") == 4
    # Each change stops the run once.
    assert record.summary["loss"]["change"] > 0


def test_nobody_stops_for_a_slower_plan(small: Description) -> None:
    def fickle(*given: object) -> Operating:
        plan = plain(*given)  # type: ignore[arg-type]
        return replace(plan, rate=plan.rate / 10) if plan.total == 3072 else plan

    record = simulate(growing(small), planner=fickle)
    assert record["gpus.job"][[0, 130, 250, 370]].tolist() == [1024, 2048, 2048, 4096]


def test_nobody_grows_a_job_that_failures_would_eat(small: Description) -> None:
    def frail(*given: object) -> Operating:
        plan = plain(*given)  # type: ignore[arg-type]
        return replace(plan, goodput=0.3) if plan.total > 2048 else plan

    record = simulate(growing(small), planner=frail)
    assert record["gpus.job"][[0, 130, 250, 370]].tolist() == [1024, 2048, 2048, 2048]


def test_a_remembered_plan_is_not_searched_twice(small: Description) -> None:
    asked = []

    def counting(*given: object) -> Operating:
        asked.append(given)
        return plain(*given)  # type: ignore[arg-type]

    remembered = Remembered(counting)
    one = simulate(growing(small), planner=remembered)
    two = simulate(growing(small), planner=remembered)
    assert len(asked) == 4
    np.testing.assert_array_equal(one["tokens"], two["tokens"])
