"""Invariants of a whole simulation, over random sites."""

from datetime import date, datetime, time, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin_planner import plain

from opencolossus.power import supply
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster, Delivery
from opencolossus.specs.document import Calendar, Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Run
from opencolossus.specs.site import Hall, HeatWave, Site
from opencolossus.specs.sources import (
    Battery,
    Generators,
    Grid,
    Order,
    Outage,
    Period,
    Permit,
    Solar,
)
from opencolossus.twin.interruptions import GROUPS
from opencolossus.twin.record import Record
from opencolossus.twin.simulate import simulate

START = date(2024, 7, 1)
DAYS = 40
BASE: Site = catalog.entry("sites", "memphis-2024-07")
FLEET: Cluster = catalog.entry("clusters", "colossus-100k")
GRID: Grid = BASE.power["grid"]
ENGINES: Generators = BASE.power["gensets"]


@st.composite
def dates(draw: st.DrawFn) -> date:
    return START + timedelta(days=draw(st.integers(0, DAYS - 1)))


@st.composite
def sites(draw: st.DrawFn) -> Site:
    permit = draw(st.none() | st.builds(Permit, nox=st.floats(10, 1e5), used=st.floats(0, 1e4)))
    power = {
        "grid": GRID.model_copy(
            update={"limit": draw(st.floats(2e6, 2e8)), "until": draw(st.none() | dates())}
        ),
        "late": GRID.model_copy(
            update={"limit": draw(st.floats(1e6, 2e8)), "available": draw(dates())}
        ),
        "engines": ENGINES.model_copy(
            update={
                "count": draw(st.integers(3, 40)),
                "permit": permit,
                "start_time": draw(st.floats(0, 1800)),
                "ramp": draw(st.none() | st.floats(1e3, 1e6)),
                "min_load": draw(st.floats(0, 0.6)),
                "standby": draw(st.integers(0, 2)),
                "mtbf": draw(st.none() | st.floats(1e4, 1e7)),
                "mttr": draw(st.floats(600, 1e6)),
            }
        ),
    }
    if draw(st.booleans()):
        power["battery"] = Battery(
            kind="battery",
            energy=draw(st.floats(1e9, 1e12)),
            limit=draw(st.floats(1e6, 2e8)),
            charge=draw(st.floats(0, 1)),
        )
    if draw(st.booleans()):
        power["panels"] = Solar(
            kind="solar",
            rating=draw(st.floats(1e5, 1e8)),
            latitude=draw(st.floats(-60, 60)),
            full_hours=draw(st.floats(500, 2500)) * 3600,
        )
        night = Period(tariff=draw(st.floats(0, 1e-7)), start=time(22), end=time(6))
        power["grid"] = power["grid"].model_copy(update={"periods": (night,)})
    orders = draw(
        st.lists(
            st.builds(
                Order,
                start=dates().map(lambda d: datetime(d.year, d.month, d.day, 14, 30)),
                duration=st.floats(600, 30_000),
                reduction=st.floats(0.05, 1),
                of=st.sampled_from(["contract", "draw"]),
                notice=st.floats(0, 3600),
            ),
            max_size=3,
        )
    )
    outages = draw(
        st.lists(
            st.builds(
                Outage,
                source=st.sampled_from(list(power)),
                start=dates().map(lambda d: datetime(d.year, d.month, d.day, 9, 17)),
                duration=st.floats(60, 90_000),
            ),
            max_size=2,
        )
    )
    waves = draw(
        st.lists(
            st.builds(
                HeatWave,
                start=dates(),
                days=st.floats(1, 10),
                dry_bulb=st.floats(0, 12),
                wet_bulb=st.floats(0, 6),
            ),
            max_size=2,
        )
    )
    chillers = draw(st.none() | st.floats(0, 1e8))
    return BASE.model_copy(
        update={
            "power": power,
            "dispatch": draw(st.sampled_from(["cost", "grid-first", "own-first"])),
            "orders": tuple(orders),
            "outages": tuple(outages),
            "heat_waves": tuple(waves),
            "cooling": BASE.cooling.model_copy(
                update={"chiller_limit": chillers, "throttle_temperature": 31.0}
            ),
        }
    )


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    (name, pool) = next(iter(FLEET.pools.items()))
    sizes = draw(st.lists(st.integers(8, 4000).map(lambda n: 8 * n), min_size=1, max_size=4))
    days = sorted(draw(st.lists(dates(), min_size=len(sizes), max_size=len(sizes))))
    lots = tuple(Delivery(date=d, gpus=n) for d, n in zip(days, sizes, strict=True))
    pool = pool.model_copy(update={"gpus": sum(sizes), "deliveries": lots})
    recovery = catalog.entry("failures", "llama3-h100").recovery
    failures = catalog.entry("failures", "llama3-h100").model_copy(
        update={
            "recovery": recovery.model_copy(
                update={"mode": draw(st.sampled_from(["restart", "replica"]))}
            ),
            "crews": draw(st.none() | st.integers(1, 20)),
        }
    )
    return FLEET.model_copy(
        update={
            "pools": {name: pool},
            "spares": draw(st.sampled_from([0.0, 0.02, 0.1])),
            "failures": failures,
        }
    )


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    return Description(
        name="random",
        site=draw(sites()),
        cluster=draw(clusters()),
        model=catalog.entry("models", "llama3-70b"),
        run=Run(tokens=draw(st.floats(1e11, 1e15)), batch=2**23, sequence=8192),
        calendar=Calendar(start=START, end=START + timedelta(days=DAYS - 1)),
    )


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(description=descriptions(), seed=st.integers(0, 1000))
def test_no_limit_is_exceeded_and_nothing_is_lost(description: Description, seed: int) -> None:
    try:
        record = simulate(description, seed=seed, planner=plain)
    except UserError:
        return  # a site too weak for its cluster; the tests below hold the words of these errors
    check_power(description, record)
    check_amounts(description, record)


def check_power(description: Description, record: Record) -> None:
    assert description.site is not None
    facility, tiny = record["power.facility"], 1.0
    assert record["power.unserved"].max() == 0
    assert (facility <= record["power.limit"] + tiny).all()
    np.testing.assert_allclose(sum(record.prefixed("source").values()), facility, atol=tiny)
    for name, limit in record.prefixed("limit").items():
        assert (record[f"source.{name}"] <= limit + tiny).all()
        assert (record[f"source.{name}"] >= -tiny).all()
    parts = ("power.it", "power.chillers", "power.pumps_fans", "power.losses")
    np.testing.assert_allclose(sum(record[part] for part in parts), facility, rtol=1e-9, atol=tiny)
    for name, source in description.site.power.items():
        if isinstance(source, Battery):
            stored = record[f"stored.{name}"]
            assert stored.min() >= 0
            assert stored.max() <= source.energy * (1 + 1e-9)
            assert np.abs(record[f"source.{name}"]).max() <= source.limit + tiny
        if isinstance(source, Generators) and source.permit is not None:
            # What was emitted before the simulation may break the permit all by itself.
            emitted = record[f"source.{name}"] * 3600 * source.nox
            rolling = record[f"permit_nox_kg.{name}"]
            assert (rolling[emitted > 1e-6] <= source.permit.nox * (1 + 1e-9)).all()


def check_amounts(description: Description, record: Record) -> None:
    for name, column in record.columns.items():
        if not name.startswith(("source.", "temperature.", "finish", "pue")):
            assert (column >= -1e-6).all(), name
    order = ("gpus.working", "gpus.job", "gpus.ready", "gpus.delivered")
    for fewer, more in pairwise(order):
        assert (record[fewer] <= record[more] + 1e-6).all(), (fewer, more)
    assert (record["gpus.powered"] <= record["gpus.ready"] + 1e-6).all()
    uses = ["work", "checkpoint", "rework", "waiting", *GROUPS]
    total = sum(record[f"time.{use}"] for use in uses)
    np.testing.assert_allclose(total, 3600, atol=1e-4)
    assert record["tokens"].sum() <= description.run.tokens * (1 + 1e-9)
    gpu = next(iter(FLEET.pools.values())).node.gpu
    assert (record["cap_w"] <= gpu.tdp * (1 + 1e-9)).all()
    if record.summary["ettr"] is not None:
        lost = sum(record.summary["loss"].values())
        assert record.summary["goodput"] + lost == pytest.approx(1, abs=1e-6)


def small(**changes: object) -> Description:
    pool = next(iter(FLEET.pools.values()))
    cluster = FLEET.model_copy(
        update={"pools": {"h100": pool.model_copy(update={"gpus": 4096, "deliveries": ()})}}
    )
    given = {
        "name": "small",
        "site": BASE,
        "cluster": cluster,
        "model": catalog.entry("models", "llama3-70b"),
        "run": Run(tokens=1e15, batch=2**23, sequence=8192),
        "calendar": Calendar(start=START, end=START + timedelta(days=20)),
    }
    return Description(**(given | changes))


def test_one_seed_gives_one_record_and_another_seed_another() -> None:
    one, same, other = (simulate(small(), seed=s, planner=plain) for s in (1, 1, 2))
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column, same[name])
    assert one.failures["time"].size != 0
    assert not np.array_equal(one.failures["time"], other.failures["time"])


def test_tokens_are_rate_times_time() -> None:
    record = simulate(small(), planner=plain)
    rate = record["tokens"] / np.maximum(record["time.work"], 1e-9)
    plan_rate = rate.max()
    assert record["tokens"].sum() == pytest.approx(
        plan_rate
        * (record["time.work"] * record["speed"]).sum()
        * record["gpus.working"].mean()
        / record["gpus.job"].mean(),
        rel=0.02,
    )


def test_the_utility_gets_its_quarter_back_and_the_run_goes_on() -> None:
    order = Order(start=datetime(2024, 7, 10, 14), duration=3 * 3600, reduction=0.25)
    only = {"grid": GRID.model_copy(update={"limit": 6.4e6})}
    site = BASE.model_copy(update={"power": only, "orders": (order,)})
    record = simulate(small(site=site), planner=plain)
    struck = np.flatnonzero(record.hours == np.datetime64("2024-07-10T14"))[0]
    during, before = slice(struck, struck + 3), slice(struck - 24, struck)
    assert record["power.facility"][during].max() <= 0.75 * 6.4e6
    assert record["cap_w"][during].max() < record["cap_w"][before].min()
    assert 0 < record["speed"][during].max() < record["speed"][before].min()


@pytest.mark.parametrize("stored", [False, True])
def test_an_order_of_the_draw_is_a_quarter_less_than_the_site_drew(stored: bool) -> None:
    order = Order(start=datetime(2024, 7, 10, 14), duration=10800, reduction=0.25, of="draw")
    only = {"grid": GRID.model_copy(update={"limit": 9e6})}
    if stored:
        only["battery"] = Battery(kind="battery", energy=20 * 3.6e9, limit=9e6)
    site = BASE.model_copy(update={"power": only, "orders": (order,)})
    record = simulate(small(site=site), planner=plain)
    calm = simulate(small(site=site.model_copy(update={"orders": ()})), planner=plain)
    check_power(small(site=site), record)
    struck = np.flatnonzero(record.hours == np.datetime64("2024-07-10T14"))[0]
    during = slice(struck, struck + 3)
    full = record["time.work"][during] > 3300
    assert full.any()
    fed = record["source.grid"][during] / calm["power.facility"][during]
    np.testing.assert_allclose(fed[full], 0.75, atol=0.02)
    assert (record["gpus.powered"] == calm["gpus.powered"]).all()
    speed = record["speed"][during].min()
    # The battery keeps the speed. Caps alone cost less of it than of the power.
    assert speed == 1 if stored else 0.75 < speed < 0.97


def test_a_battery_carries_the_run_through_an_order() -> None:
    order = Order(start=datetime(2024, 7, 10, 14), duration=3 * 3600, reduction=0.25)
    only = {
        "grid": GRID.model_copy(update={"limit": 6.4e6}),
        "battery": Battery(kind="battery", energy=8 * 3.6e9, limit=4e6),
    }
    site = BASE.model_copy(update={"power": only, "orders": (order,)})
    record = simulate(small(site=site), planner=plain)
    struck = np.flatnonzero(record.hours == np.datetime64("2024-07-10T14"))[0]
    assert record["source.grid"][struck : struck + 3].max() <= 0.75 * 6.4e6 + 1
    assert record["source.battery"][struck : struck + 3].max() > 0
    assert record["cap_w"][struck] == pytest.approx(record["cap_w"][struck - 1], rel=0.01)


def test_a_battery_bridges_the_start_of_the_engines_when_the_grid_fails() -> None:
    fails = (Outage(source="grid", start=datetime(2024, 7, 10, 14, 20), duration=2 * 3600),)
    power = {"grid": GRID, "engines": ENGINES.model_copy(update={"count": 4})}
    battery = Battery(kind="battery", energy=4 * 3.6e9, limit=8e6)
    found = {}
    for name, given_power in (("none", power), ("battery", power | {"battery": battery})):
        site = BASE.model_copy(update={"power": given_power, "outages": fails})
        found[name] = simulate(small(site=site), planner=plain)
        check_power(small(site=site), found[name])
    struck = np.flatnonzero(found["none"].hours == np.datetime64("2024-07-10T14"))[0]
    # Five dark minutes, and then the whole way back: detection, restart, communicators.
    assert found["none"]["time.site"][struck] > 300 + 360
    assert found["battery"]["time.site"].sum() == 0
    minutes = found["battery"].moments
    begin = np.flatnonzero(minutes["time"] == np.datetime64("2024-07-10T14:20", "s"))[0]
    assert (minutes["source.engines"][begin : begin + 5] == 0).all()
    assert (minutes["source.battery"][begin : begin + 5] > 1e6).all()
    assert minutes["source.engines"][begin + 10] > 1e6


def test_one_engine_more_than_needed_makes_up_for_trips() -> None:
    tokens = []
    for spare, mtbf in ((0, 4e5), (1, 4e5), (0, None)):
        engines = ENGINES.model_copy(
            update={
                "count": 2 + spare,
                "standby": spare,
                "mtbf": mtbf,
                "mttr": None if mtbf is None else 8e4,
            }
        )
        battery = Battery(kind="battery", energy=4 * 3.6e9, limit=3e6)
        given_site = BASE.model_copy(update={"power": {"engines": engines, "battery": battery}})
        records = [simulate(small(site=given_site), planner=plain, seed=s) for s in range(4)]
        for record in records:
            check_power(small(site=given_site), record)
            assert any(event.kind == "trip" for event in record.events) == (mtbf is not None)
        tokens.append(sum(record.summary["tokens"] for record in records))
    n, n_plus_1, calm = tokens
    # A sixth of the units is out: N loses about as much, N+1 what happens while two are out.
    assert 0.7 < n / calm < 0.9
    assert 0.9 < n_plus_1 / calm < 1


def test_slow_generators_cost_a_run_time_at_every_restart() -> None:
    found = []
    for ramp in (None, 1e4, 2e3):
        only = {"engines": ENGINES.model_copy(update={"count": 3, "ramp": ramp})}
        site = BASE.model_copy(update={"power": only})
        found.append(simulate(small(site=site), planner=plain, seed=3).summary["ettr"])
    assert found[0] > found[1] > found[2]


def test_more_power_never_trains_fewer_tokens() -> None:
    tokens = []
    for megawatts in (3, 4, 5, 6):
        only = {"grid": GRID.model_copy(update={"limit": megawatts * 1e6})}
        site = BASE.model_copy(update={"power": only})
        tokens.append(simulate(small(site=site), planner=plain)["tokens"].sum())
    assert tokens == sorted(tokens)


def test_linear_programming_costs_no_more_and_holds_every_limit() -> None:
    permit = Permit(nox=2000.0, used=100.0)
    power = {
        "grid": GRID.model_copy(update={"limit": 4e6}),
        "engines": ENGINES.model_copy(update={"permit": permit}),
        "battery": Battery(kind="battery", energy=5 * 3.6e9, limit=2e6),
    }
    description = small(site=BASE.model_copy(update={"power": power}))
    merit = simulate(description, planner=plain)
    best = simulate(description, planner=plain, cheapest=True)
    check_power(description, best)
    assert best.summary["usd"]["energy"] <= merit.summary["usd"]["energy"] * (1 + 1e-9)
    np.testing.assert_array_equal(best["tokens"], merit["tokens"])


def test_a_permit_that_runs_out_stops_the_engines() -> None:
    permit = Permit(nox=300.0)
    power = {"grid": GRID, "engines": ENGINES.model_copy(update={"permit": permit})}
    site = BASE.model_copy(update={"power": power, "dispatch": "own-first"})
    record = simulate(small(site=site), planner=plain)
    kinds = [event.kind for event in record.events]
    assert "permit" in kinds
    hour = int(np.flatnonzero(record["permit_nox_kg.engines"] > 290)[0])
    assert record["source.engines"][:hour].max() > 0
    assert record["source.engines"][-48:].max() == 0
    assert record["permit_nox_kg.engines"].max() <= 300.0


def test_waiting_replicas_lose_less_than_restarting_jobs() -> None:
    failures = catalog.entry("failures", "llama3-h100")
    found = {}
    for kind in ("restart", "replica"):
        recovery = failures.recovery.model_copy(update={"mode": kind})
        cluster = small().cluster.model_copy(
            update={"failures": failures.model_copy(update={"recovery": recovery})}
        )
        found[kind] = simulate(small(cluster=cluster), planner=plain).summary["ettr"]
    assert found["replica"] > found["restart"]


def test_the_trace_of_a_step_is_in_milliseconds() -> None:
    record = simulate(small(), planner=plain)
    time, power, beat = record.rhythm["time"], record.rhythm["power"], record.summary["rhythm"]
    assert np.diff(time) == pytest.approx(max(1e-3, (5 * beat["step_time"] + 2) / 20_000))
    assert power.max() - power.min() == pytest.approx(beat["stop"])
    # Idle servers and switches remain when all stop; no step exceeds what is reserved.
    assert 0 < power.min() < power.max() < record["power.limit"].max()


def test_a_rack_takes_all_its_servers_along() -> None:
    pool = FLEET.pools["h100"].model_copy(update={"gpus": 4096, "deliveries": ()})
    known = catalog.entry("failures", "llama3-h100")
    racks = known.causes["rack-power"].model_copy(update={"rate": 1e-6, "repair": 6 * 3600.0})
    failures = known.model_copy(update={"causes": {"rack-power": racks}})
    cluster = FLEET.model_copy(update={"pools": {"h100": pool}, "failures": failures})
    record = simulate(small(cluster=cluster), planner=plain)
    # 64 racks for three weeks, with one failure in a million seconds each.
    expected = 64 * 21 * 86400 * 1e-6
    found = record.failures["time"].size
    assert found == pytest.approx(expected, abs=4 * expected**0.5)
    assert set(np.unique(record["gpus.repair"] % 64)) == {0}
    assert record["gpus.repair"].mean() == pytest.approx(64 * 64 * 6 * 3600 * 1e-6, rel=0.6)


def test_a_storm_of_switch_failures_strikes_on_its_days() -> None:
    failures = catalog.entry("failures", "llama3-h100")
    storm = {"cause": "switch-or-cable", "start": "2024-07-08", "days": 3, "factor": 200}
    struck = type(failures).model_validate(failures.model_dump() | {"storms": [storm]})
    cluster = small().cluster.model_copy(update={"failures": struck})
    record = simulate(small(cluster=cluster), planner=plain)
    day = (record.failures["time"] // 86400).astype(int)
    in_storm = (day >= 7) & (day < 10)
    switches = record.failures["cause"] == "switch-or-cable"
    assert switches[in_storm].sum() > 10 * max(switches[~in_storm].sum(), 1)


def test_an_event_says_why_nothing_runs_yet() -> None:
    run = small().run.model_copy(update={"start": START + timedelta(days=3)})
    record = simulate(small(run=run), planner=plain)
    assert (record["tokens"][: 3 * 24] == 0).all()
    said = [event.text for event in record.events if event.kind == "plan"]
    assert said[0] == "Nothing runs: the run begins on 2024-07-04"
    assert "tokens/s" in said[1]


def test_what_lies_outside_the_calendar_is_told() -> None:
    site = BASE.model_copy(
        update={
            "orders": (
                Order(start=datetime(2024, 9, 1, 14), duration=3600, reduction=0.25),
                Order(start=datetime(2024, 7, 5, 14), duration=3600, reduction=0.25),
            ),
            "outages": (Outage(source="grid", start=datetime(2023, 7, 5, 14), duration=60),),
            "heat_waves": (HeatWave(start=date(2024, 6, 1), days=3, dry_bulb=5),),
        }
    )
    told = simulate(small(site=site), planner=plain).summary["ignored"]
    assert [text.partition(" ")[0] for text in told] == [
        "site.orders[0]",
        "site.outages[0]",
        "site.heat_waves[0]",
    ]
    assert "2024-09-01 14:00" in told[0]
    assert "2024-07-01 to 2024-07-21" in told[0]


def test_an_order_to_a_grid_that_is_gone_is_told() -> None:
    gone = GRID.model_copy(update={"until": date(2024, 7, 4)})
    order = Order(start=datetime(2024, 7, 5, 14), duration=3600, reduction=0.25)
    site = BASE.model_copy(update={"power": BASE.power | {"grid": gone}, "orders": (order,)})
    (told,) = simulate(small(site=site), planner=plain).summary["ignored"]
    assert told == "site.orders[0] (2024-07-05 14:00) does nothing: no grid is there then"


def test_a_site_that_carries_nothing_is_named() -> None:
    only = {"grid": GRID.model_copy(update={"limit": 5e3})}
    with pytest.raises(UserError, match=r"site\.power carries 5 kW at most"):
        simulate(small(site=BASE.model_copy(update={"power": only})), planner=plain)


def test_a_calendar_before_the_first_delivery_is_named() -> None:
    pool = next(iter(FLEET.pools.values()))
    late = pool.model_copy(
        update={"gpus": 8, "deliveries": (Delivery(date=date(2025, 1, 1), gpus=8),)}
    )
    cluster = FLEET.model_copy(update={"pools": {"h100": late}})
    with pytest.raises(UserError, match=r"calendar\.end .*first delivery 2025-01-01"):
        simulate(small(cluster=cluster), planner=plain)


def test_no_calendar_is_named() -> None:
    with pytest.raises(UserError, match="calendar"):
        simulate(small(calendar=None), planner=plain)


def test_the_result_stays_when_the_step_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(start=datetime(2024, 7, 10, 14, 30), duration=9000, reduction=0.5)
    fails = Outage(source="grid", start=datetime(2024, 7, 14, 3, 20), duration=7200)
    battery = Battery(kind="battery", energy=2e10, limit=2e6)
    engine = ENGINES.model_copy(update={"count": 1, "mtbf": 4e5, "mttr": 3e4})
    power = {"grid": GRID, "engines": engine, "battery": battery}
    site = BASE.model_copy(update={"power": power, "orders": (order,), "outages": (fails,)})
    around = simulate(small(site=site), planner=plain)
    monkeypatch.setattr(supply, "busy_hours", lambda site, hours, *_: range(hours.size))
    minutes = simulate(small(site=site), planner=plain)
    assert minutes.moments["time"].size == 60 * minutes.hours.size
    for name, tolerance in (("tokens", 1e-4), ("energy", 1e-4), ("co2", 2e-3), ("ettr", 1e-4)):
        assert around.summary[name] == pytest.approx(minutes.summary[name], rel=tolerance)


def test_halls_without_room_are_named() -> None:
    tight = BASE.model_copy(update={"halls": Hall(count=2, gpus=1024)})
    with pytest.raises(UserError, match=r"site\.halls has places for 2,048 GPUs.*4,096"):
        simulate(small(site=tight), planner=plain)
    narrow = BASE.model_copy(update={"halls": Hall(count=512, gpus=8)})
    with pytest.raises(UserError, match=r"site\.halls\.gpus \(8\) is less than one rack"):
        simulate(small(site=narrow), planner=plain)


def test_the_sun_is_used_first_and_by_day_only(small: Description) -> None:
    assert small.site is not None
    panels = Solar(kind="solar", rating=2e6, latitude=35.0, full_hours=1500 * 3600)
    night = Period(tariff=1e-9, start=time(22), end=time(6))
    power = dict(small.site.power) | {"panels": panels}
    power["grid"] = power["grid"].model_copy(update={"periods": (night,)})
    site = small.site.model_copy(update={"power": power})
    description = small.model_copy(update={"site": site})
    record = simulate(description, planner=plain)
    of_day = record.hours.astype(int) % 24
    given_ = record["source.panels"]
    assert given_[(of_day < 4) | (of_day > 20)].max() == 0
    assert given_[of_day == 12].min() > 0.5e6
    np.testing.assert_allclose(given_, record["limit.panels"], rtol=1e-9)
    # Plans don't count on it: the job is that of the same site without panels.
    without = simulate(small, planner=plain)
    np.testing.assert_array_equal(record["gpus.job"], without["gpus.job"])
    assert record["source.grid"].sum() < without["source.grid"].sum()
    # Three weeks of nights cost next to nothing.
    paid = record["usd.energy"] - without["usd.energy"]
    assert paid[(of_day < 6) | (of_day >= 22)].max() < 0


def test_least_cost_fills_batteries_at_night(small: Description) -> None:
    assert small.site is not None
    grid = GRID.model_copy(
        update={"limit": 12e6, "periods": (Period(tariff=1e-9, start=time(22), end=time(6)),)}
    )
    battery = Battery(kind="battery", energy=3.6e10, limit=2e6, charge=0.0)
    site = small.site.model_copy(update={"power": {"grid": grid, "battery": battery}})
    record = simulate(small.model_copy(update={"site": site}), planner=plain, cheapest=True)
    of_day = record.hours.astype(int) % 24
    night = (of_day < 6) | (of_day >= 22)
    flow = record["source.battery"]
    assert flow[~night].sum() > 0
    assert flow[night].sum() < 0


def test_a_plan_that_begins_in_the_dark_waits_for_power(small: Description) -> None:
    # Turbines alone don't start; the grid that comes after a week lets them.
    assert small.site is not None
    late = GRID.model_copy(update={"limit": 5e6, "available": START + timedelta(days=7)})
    turbines = ENGINES.model_copy(update={"kind": "turbines", "count": 5})
    site = small.site.model_copy(update={"power": {"late": late, "turbines": turbines}})
    record = simulate(small.model_copy(update={"site": site}), planner=plain)
    lost, span = record.summary["loss"], record.summary["span"]
    assert lost["site"] == pytest.approx(7 * 86400 / span, rel=0.02)
    assert lost["missing"] < 0.05
    assert record["tokens"][: 7 * 24].sum() == 0
    assert any("turbines stands still until 2024-07-08" in s for s in record.summary["ignored"])
    alone = turbines.model_copy(update={"black_start": True})
    site = small.site.model_copy(update={"power": {"late": late, "turbines": alone}})
    record = simulate(small.model_copy(update={"site": site}), planner=plain)
    assert not record.summary["ignored"]
    assert record.summary["loss"]["site"] < 0.01


def test_rented_gpus_cost_by_the_hour_until_the_last_token(small: Description) -> None:
    (pool,) = small.cluster.pools.values()
    rented = pool.model_copy(update={"gpu_hour": 2.0})
    cluster = small.cluster.model_copy(update={"pools": {"h100": rented}})
    run = small.run.model_copy(update={"tokens": 2e12})
    record = simulate(small.model_copy(update={"cluster": cluster, "run": run}), planner=plain)
    assert record.summary["finish"]["reached"]
    hours = np.flatnonzero(record["tokens"])[-1] + 1
    assert record["usd.hardware"].sum() == 0
    assert record["usd.gpus"].sum() == pytest.approx(4096 * 2.0 * hours)
    assert record.summary["site"]["unpriced"] == []


def test_least_cost_never_costs_more_demand_charge_included(small: Description) -> None:
    assert small.site is not None
    grid = GRID.model_copy(update={"limit": 6e6, "demand_charge": 15.0 / 1e3 / (30 * 86400)})
    power = {"grid": grid, "engines": ENGINES.model_copy(update={"count": 4, "rent": 0.0})}
    site = small.site.model_copy(update={"power": power})
    description = small.model_copy(update={"site": site})
    parts = ("usd.energy", "usd.demand", "usd.maintenance")
    merit, best = (
        sum(simulate(description, planner=plain, cheapest=lp)[part].sum() for part in parts)
        for lp in (False, True)
    )
    assert best <= merit * (1 + 1e-9)
    assert best > 0
