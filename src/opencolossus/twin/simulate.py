"""Play a description against the calendar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling import heat, weather
from opencolossus.fabric import clos
from opencolossus.fabric.clos import Clos
from opencolossus.plan import survive
from opencolossus.power import caps, sun
from opencolossus.power.supply import hours_between, lasting
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Generators, Solar
from opencolossus.specs.units import POWER, show
from opencolossus.twin import planner as planners
from opencolossus.twin.cheapest import cheapest_dispatch
from opencolossus.twin.columns import columns, minutes
from opencolossus.twin.epochs import Epochs, plan_epochs
from opencolossus.twin.fleet import fleet
from opencolossus.twin.happenings import happenings
from opencolossus.twin.ignored import ignored
from opencolossus.twin.play import play
from opencolossus.twin.record import Record
from opencolossus.twin.rhythm import rhythm
from opencolossus.twin.scene import Played, Scene
from opencolossus.twin.summary import forecast, summary

Array = NDArray[np.float64]


def simulate(
    description: Description,
    *,
    seed: int | None = None,
    planner: planners.Planner | None = None,
    cheapest: bool = False,
    luck: float = 0.0,
) -> Record:
    """Play ``description`` hour by hour over its calendar.

    ``cheapest`` dispatches by linear programming over all hours instead of by merit order.
    ``luck`` is how the step time turns out, in standard deviations of its prediction.
    Power, caps, plans and weather are determined; failures and repairs are drawn from ``seed``
    (the calendar's if left out). The same seed gives the same record.

    Raises:
        UserError: the description has no site, cluster or calendar, nothing is delivered in time,
            or the site cannot power one replica of the model on any day.
    """
    planner = planner or planners.Searched()
    scene = _scene(description, luck)
    seed = _seed(description) if seed is None else seed
    firm_by = lasting(scene.site, scene.hours)
    used_up: dict[str, int] = {}
    while True:
        firm = np.sum(list(firm_by.values()), axis=0)
        epochs = plan_epochs(
            scene.description, planner, scene.hours, firm, scene.fleet, scene.weather
        )
        if not used_up:
            _something_runs(scene, epochs, firm)
        played = play(scene, epochs, used_up, np.random.SeedSequence(seed))
        table = columns(scene, played)
        hour = _permit_used_up(scene, table, used_up)
        if hour is None:
            break
        name, end = hour
        firm_by[name] = np.where(np.arange(scene.hours.size) < end, firm_by[name], 0.0)
    if cheapest:
        played = replace(played, dispatch=cheapest_dispatch(scene, played))
        table = columns(scene, played)
    record = _record(scene, played, table, used_up, seed)
    return record if description == scene.description else _with_default_failures(record)


def _with_default_failures(record: Record) -> Record:
    assumed = catalog.assumed(catalog.facts("failures", survive.USUAL))
    words = f"failures come as in the catalog's {survive.USUAL}"
    return replace(
        record,
        assumptions=(
            *record.assumptions,
            *(f"{words}: {path} = {fact.value} ({fact.note})" for path, fact in assumed.items()),
        ),
    )


def _record(
    scene: Scene, played: Played, table: dict[str, Array], used_up: dict[str, int], seed: int
) -> Record:
    beat, trace = rhythm(scene, played)
    table = table | {"finish_forecast": forecast(scene, table["tokens"])}
    kinds, pools = list(scene.failures.causes), list(scene.cluster.pools)
    strikes = played.struck.strikes
    shining = any(isinstance(source, Solar) for source in scene.site.power.values())
    assumed = dict.fromkeys(
        [*caps.ASSUMED.values(), *weather.ASSUMED.values(), *heat.ASSUMED.values()]
        + (list(sun.ASSUMED.values()) if shining else [])
        + [text for plan in played.epochs.plans for text in plan.assumptions]
    )
    return Record(
        name=scene.description.name,
        hours=scene.hours,
        columns=table,
        events=happenings(scene, played, used_up),
        failures={
            "time": strikes.time,
            "cause": np.array(kinds)[strikes.cause // len(pools)],
            "pool": np.array(pools)[strikes.cause % len(pools)],
            "back": played.struck.back,
        },
        summary=summary(scene, played, table, seed)
        | {
            "rhythm": beat,
            "permit_usd_per_kg": played.dispatch.permit_prices,
            "ignored": ignored(scene),
        },
        assumptions=tuple(assumed),
        rhythm=trace,
        moments=minutes(played),
    )


def _scene(description: Description, luck: float) -> Scene:
    site, cluster, calendar = description.site, description.cluster, description.calendar
    if site is None or cluster is None:
        raise UserError("simulate needs a site and a cluster; see examples/memphis.yaml")
    if calendar is None:
        raise UserError(
            "simulate needs a calendar; write it like "
            "calendar: {start: 2024-07-01, end: 2024-12-31}"
        )
    _fits(site, cluster)
    failures = cluster.failures or survive.usual()
    cluster = cluster.model_copy(update={"failures": failures})
    description = description.model_copy(update={"cluster": cluster})
    hours = hours_between(calendar.start, calendar.end)
    return Scene(
        description=description,
        site=site,
        cluster=cluster,
        failures=failures,
        hours=hours,
        weather=weather.hourly(site.climate, hours, site.heat_waves),
        fleet=fleet(cluster, failures, hours),
        fabric=_fabric(cluster),
        luck=luck,
    )


def _fits(site: Site, cluster: Cluster) -> None:
    """Whether the halls have places for all GPUs, and each for a rack."""
    if site.halls is None:
        return
    places = site.halls.count * site.halls.gpus
    if places < cluster.gpus:
        raise UserError(
            f"site.halls has places for {places:,} GPUs, but the cluster has {cluster.gpus:,}; "
            f"add halls or take GPUs away"
        )
    for name, pool in cluster.pools.items():
        if pool.rack is not None and pool.rack.gpus > site.halls.gpus:
            raise UserError(
                f"site.halls.gpus ({site.halls.gpus}) is less than one rack of "
                f"cluster.pools.{name} ({pool.rack.gpus}); choose larger halls"
            )


def _fabric(cluster: Cluster) -> Clos:
    node = next(iter(cluster.pools.values())).node
    return clos.size(node, cluster.fabric, cluster.gpus)


def _seed(description: Description) -> int:
    return description.calendar.seed if description.calendar else 0


def _something_runs(scene: Scene, epochs: Epochs, firm: Array) -> None:
    if any(plan.total for plan in epochs.plans):
        return
    start = scene.description.run.start
    if start is not None and np.datetime64(start, "h") > scene.hours[-1]:
        raise UserError(
            f"run.start ({start}) comes after calendar.end "
            f"({scene.hours[-1].astype('datetime64[D]')}); choose a later end"
        )
    raise UserError(
        f"site.power carries {show(float(firm.max()), POWER, 4)} at most, which is too little for "
        f"one replica of the model on any day of the calendar; add a source or a smaller model"
    )


def _permit_used_up(
    scene: Scene, table: dict[str, Array], used_up: dict[str, int]
) -> tuple[str, int] | None:
    """The next source whose permit breaks, with the hour; noted in ``used_up``.

    A source that stopped may have to stop earlier: the plans before it can change with it.
    """
    found: list[tuple[int, str]] = []
    for name, source in scene.site.power.items():
        if isinstance(source, Generators) and source.permit is not None:
            over = np.flatnonzero(table[f"permit_nox_kg.{name}"] > source.permit.nox)
            if over.size and over[0] < used_up.get(name, scene.hours.size):
                found.append((int(over[0]), name))
    if not found:
        return None
    hour, name = min(found)
    used_up[name] = hour
    return name, hour
