"""The scenarios that people copy, played as they are."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from opencolossus.plan.search import search
from opencolossus.specs.load import load
from opencolossus.twin.record import Record
from opencolossus.twin.simulate import simulate

EXAMPLES = Path(__file__).parents[2] / "examples"


def play(name: str, *sets: str) -> Record:
    return simulate(load(EXAMPLES / f"{name}.yaml", sets).description)


def at(record: Record, moment: str) -> int:
    return int(np.flatnonzero(record.hours == np.datetime64(moment, "h"))[0])


def test_memphis_grows_with_its_supply() -> None:
    record = play("memphis")
    july, september = at(record, "2024-07-25"), at(record, "2024-09-10")
    assert record["power.facility"][july] <= 43e6
    assert record["cap_w"][july] < 700
    assert record["gpus.powered"][september] > 1.5 * record["gpus.powered"][july]
    assert record["power.unserved"].max() == 0
    assert record["tokens"][july] > 0


def test_the_plan_that_is_played_is_the_planners() -> None:
    description = load(EXAMPLES / "july.yaml").description
    plan = search(description, day=date(2024, 7, 1), detail=False)
    record = simulate(description)
    assert record["gpus.job"][0] == plan.gpus
    assert record["cap_w"][0] == pytest.approx(plan.cap, rel=1e-6)
    whole = record["time.work"] + record["time.checkpoint"] >= 3600 - 1e-6
    steady = whole & (record["gpus.working"] == plan.gpus)
    rate = record["tokens"][steady] / record["time.work"][steady]
    np.testing.assert_allclose(rate, plan.tokens_per_second, rtol=1e-9)
    np.testing.assert_allclose(record["power.it"][steady], plan.power.it, rtol=0.03)


def test_an_order_is_carried_by_the_battery_or_by_the_caps() -> None:
    with_battery = play("order")
    without = play("order", "site.power.battery=null")
    struck = at(with_battery, "2025-07-15T15")
    during, before = slice(struck, struck + 3), struck - 3
    for record in (with_battery, without):
        assert record["source.grid"][during].max() <= 60e6 + 1
    assert without["cap_w"][during].max() < 0.9 * without["cap_w"][before]
    assert with_battery["speed"][during].min() > without["speed"][during].max()


def test_a_storm_costs_time_while_it_lasts() -> None:
    record = play("storm")
    day = (record.hours - record.hours[0]).astype(int) // 24
    lost = np.bincount(day, record["time.network"])
    assert lost[6:10].mean() > 10 * lost[:6].mean()


def test_turbines_stop_when_their_permit_is_used_up() -> None:
    record = play("permit")
    stopped = [event for event in record.events if event.kind == "permit"]
    assert len(stopped) == 1
    hour = at(record, str(stopped[0].time))
    assert record["source.permitted-turbines"][hour - 24 : hour].max() > 0
    assert record["source.permitted-turbines"][hour:].max() == 0
    assert record["permit_nox_kg.permitted-turbines"].max() <= 87 * 907.18474
    after = record["power.facility"][hour:].max()
    assert after <= 50e6
    assert after < 0.9 * record["power.facility"][:hour].max()


def test_a_heat_wave_warms_the_water_and_slows_the_gpus() -> None:
    record = play("heat-wave")
    hot, cool = at(record, "2024-08-20T15"), at(record, "2024-08-14T15")
    assert record["temperature.supply"][hot] > record["temperature.supply"][cool]
    assert record["speed"][hot] < record["speed"][cool]


@pytest.mark.parametrize("name", ["july", "race", "christmas", "doubling"])
def test_the_others_train(name: str) -> None:
    record = play(name)
    assert record.summary["tokens"] > 0
    assert record["power.unserved"].max() == 0
    assert (record["power.facility"] <= record["power.limit"] + 1).all()


def test_at_a_million_gpus_replicas_must_recover_alone() -> None:
    record = play("million", "calendar.end=2026-01-16")
    whole = play("million", "calendar.end=2026-01-16", "cluster.failures.recovery.mode=restart")
    assert record.summary["ettr"] > 0.8
    assert record.summary["ettr"] > whole.summary["ettr"] + 0.1
