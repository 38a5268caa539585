"""Many seeds."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from twin_planner import plain

from opencolossus.faults.goodput import renewal_goodput
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.twin.executors import executor
from opencolossus.twin.operating import Operating
from opencolossus.twin.runs import many
from opencolossus.twin.simulate import simulate


def test_quantiles_are_those_of_the_runs(small: Description) -> None:
    found = many(small, 9, seed=3, planner=plain, workers=1)
    each = [simulate(small, seed=s, planner=plain).summary["tokens"] for s in range(3, 12)]
    # The planner of the tests claims no error, so luck changes nothing.
    quantiles = found.summary["runs"]["figures"]["tokens"]
    assert quantiles["p50"] == pytest.approx(np.median(each))
    assert min(each) <= quantiles["p5"] <= quantiles["p95"] <= max(each)
    assert found.summary["runs"]["count"] == 9


def uncertain(*given: object) -> Operating:
    return replace(plain(*given), spread=0.1)  # type: ignore[arg-type]


def test_an_uncertain_step_time_widens_the_spread(small: Description) -> None:
    found = many(small, 60, planner=uncertain, workers=1).summary["runs"]["figures"]["tokens"]
    # Tokens follow the step time: 90 % of a log-normal with a deviation of 0.1.
    assert np.log(found["p95"] / found["p5"]) == pytest.approx(2 * 1.645 * 0.1, rel=0.35)


def test_luck_moves_the_rate_by_its_deviations(small: Description) -> None:
    usual, slow = (simulate(small, planner=uncertain, luck=z) for z in (0.0, 1.0))
    assert slow["tokens"].sum() == pytest.approx(usual["tokens"].sum() * np.exp(-0.1))


def test_processes_and_other_executors_find_the_same(small: Description) -> None:
    alone = many(small, 9, planner=plain, workers=1)
    beside = many(small, 9, planner=plain, workers=2)
    with ThreadPoolExecutor(2) as executor:
        threads = many(small, 9, planner=plain, executor=executor)
    assert alone.summary == beside.summary == threads.summary
    np.testing.assert_array_equal(alone["band.low"], beside["band.low"])


def test_a_dask_cluster_finds_the_same(small: Description) -> None:
    distributed = pytest.importorskip("distributed")
    alone = many(small, 9, planner=plain, workers=1)
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        protocol="tcp://",
        host="127.0.0.1",
    ) as cluster:
        away = many(small, 9, planner=plain, executor=executor(cluster.scheduler_address))
    assert away.summary == alone.summary


def test_a_ray_cluster_finds_the_same(small: Description) -> None:
    ray = pytest.importorskip("ray")
    alone = many(small, 9, planner=plain, workers=1)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        away = many(small, 9, planner=plain, executor=executor("ray://auto"))
    finally:
        ray.shutdown()
    assert away.summary == alone.summary


def test_a_wrong_address_is_named() -> None:
    with pytest.raises(UserError, match="write it like dask://host:8786"):
        executor("somewhere")


def test_bands_enclose_the_middle(small: Description) -> None:
    found = many(small, 20, planner=plain, workers=1)
    low, high = np.cumsum(found["band.low"]), np.cumsum(found["band.high"])
    assert (low <= high + 1e-6).all()


def test_the_mean_of_many_runs_is_the_closed_form(small: Description) -> None:
    # A settled fleet at full power: ETTR of the dice against Daly's renewal formula.
    failures = small.cluster.failures
    assert failures is None
    found = [simulate(small, seed=s, planner=plain) for s in range(40)]
    ettr = np.array([record.summary["ettr"] for record in found])
    plan_gpus = found[0]["gpus.job"].max()
    from opencolossus.specs import catalog

    known = catalog.entry("failures", "llama3-h100")
    units = {"gpu": plan_gpus, "rack": plan_gpus / 64, "job": 1}
    sudden = [c for c in known.causes.values() if c.group != "planned"]
    rate = sum(c.rate * units[c.per] for c in sudden)
    planned = sum(c.rate * units[c.per] for c in known.causes.values()) - rate
    recovery = known.recovery
    begin = recovery.restart + recovery.setup_per_rank * plan_gpus
    hidden = sum(c.rate * units[c.per] * c.hidden for c in sudden) / rate
    plan = plain(small, None, 43e6, {"h100": 4096}, 1.2)  # type: ignore[arg-type]
    stop = recovery.detection + begin + hidden
    expected = renewal_goodput(rate, plan.interval, plan.write, stop)
    expected *= 1 - planned * (plan.write + begin)  # maintenance saves its work first
    error = ettr.std() / ettr.size**0.5
    assert ettr.mean() == pytest.approx(float(expected), abs=4 * error + 5e-4)
