"""The one large run whose troubles were published, played from its description.

Llama team 2024, arXiv 2407.21783: 16,384 H100, 54 days, 466 interruptions of which 419 unplanned,
more than 90 % effective training time; storage took 2 TB/s. What its layout reached per GPU is
checked with the planner.
"""

from datetime import date

import numpy as np
import pytest

from opencolossus.specs import catalog
from opencolossus.specs.document import Calendar, Description
from opencolossus.specs.run import Run
from opencolossus.twin.planner import Remembered, Searched
from opencolossus.twin.record import Record
from opencolossus.twin.simulate import simulate

PLANNER = Remembered(Searched())


def play(seed: int) -> Record:
    fleet = catalog.entry("clusters", "colossus-100k")
    pool = next(iter(fleet.pools.values()))
    pools = {"h100": pool.model_copy(update={"gpus": 16_384, "deliveries": ()})}
    site = catalog.entry("sites", "memphis-2024-07")
    grid = site.power["grid"].model_copy(update={"limit": 60e6})
    description = Description(
        name="Llama 3 405B",
        site=site.model_copy(update={"power": {"grid": grid}}),
        cluster=fleet.model_copy(update={"pools": pools, "storage_bandwidth": 2e12}),
        model=catalog.entry("models", "llama3-405b"),
        run=Run(tokens=15.6e12, batch=16 * 2**20, sequence=8192),
        calendar=Calendar(start=date(2024, 3, 1), end=date(2024, 4, 23)),
    )
    return simulate(description, seed=seed, planner=PLANNER)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [play(seed) for seed in range(12)]


def test_it_is_interrupted_as_often(records: list[Record]) -> None:
    share = records[0]["gpus.job"].max() / 16_384
    assert share > 0.9
    planned = [np.sum(record.failures["cause"] == "maintenance") for record in records]
    unplanned = [record.failures["time"].size for record in records]
    unplanned = [total - p for total, p in zip(unplanned, planned, strict=True)]
    assert np.mean(unplanned) == pytest.approx(419 * share, abs=60)
    assert np.mean(planned) == pytest.approx(47, abs=12)


def test_it_loses_less_than_a_tenth_of_its_time(records: list[Record]) -> None:
    for record in records:
        assert record.summary["span"] == 54 * 86400
        assert record.summary["ettr"] + 0.03 >= 0.90
        assert record.summary["ettr"] < 1


def test_its_stops_move_tens_of_megawatts(records: list[Record]) -> None:
    # "Instant fluctuations of power across the data center on the order of tens of megawatts".
    assert 10e6 <= records[0].summary["rhythm"]["stop"] <= 40e6
