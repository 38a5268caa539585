"""One pass over the calendar: plans, caps, failures, tokens and watts, hour by hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling.heat import Heat, heat
from opencolossus.faults.process import HOUR
from opencolossus.faults.timeline import Interruptions
from opencolossus.power import supply
from opencolossus.power.dispatch import Dispatch, dispatch
from opencolossus.power.slots import Slots
from opencolossus.specs.cluster import Cluster
from opencolossus.twin import control, interruptions, shedding
from opencolossus.twin.control import Held
from opencolossus.twin.epochs import Epochs
from opencolossus.twin.fleet import per_node
from opencolossus.twin.interruptions import Struck
from opencolossus.twin.progress import account_of, until_done, while_running
from opencolossus.twin.scene import Moments, Played, Scene
from opencolossus.twin.shedding import Stops
from opencolossus.twin.stage import Stage, stage

Array = NDArray[np.float64]


def play(
    scene: Scene, epochs: Epochs, used_up: Mapping[str, int], seed: np.random.SeedSequence
) -> Played:
    """Play the whole calendar with the plans of ``epochs``.

    ``used_up`` tells the hour at which the permit of a source is spent.
    """
    *dice, of_sources = (np.random.default_rng(child) for child in seed.spawn(3))
    job = epochs.gpus(list(scene.cluster.pools))
    powered = _with_spares(scene.cluster, job, scene.fleet.ready)
    settled = stage(scene, epochs, powered, used_up, of_sources)
    grid, held = settled.grid, settled.held

    on = grid.by_hour(held.on)
    replicas = grid.at(epochs.by_hour("replicas") * (epochs.by_hour("rate") > 0))
    failed = supply.failed(scene.site, grid, settled.sources.trips)
    short = shedding.stops(held, replicas, grid, failed)
    struck, stops = _failures(scene, epochs, job * on, short, settled.climb, dice)
    pace, share = _pace(grid, settled.speed, held, replicas)
    working = _working(scene, epochs, job, powered, struck.out) * share
    shares, waiting = account_of(scene.hours.size, epochs, stops)
    tokens, shares, waiting = until_done(
        scene.description.run.tokens, shares, waiting, _rate(scene, epochs) * pace * working
    )

    running = np.clip((shares.work + shares.rework) / HOUR, 0.0, 1.0)
    there = np.clip(1 - _ratio(struck.out, powered / per_node(scene.cluster)), 0.0, 1.0)
    drawn = _drawn(scene, settled, running, there, waiting)
    struck = while_running(struck, waiting)
    return Played(
        epochs=epochs,
        job=job,
        powered=powered * on,
        repair=np.minimum(struck.out * per_node(scene.cluster), scene.fleet.ready),
        cap=grid.by_hour(held.cap),
        clock=grid.by_hour(settled.clock),
        speed=pace,
        working=working,
        account=shares,
        waiting=waiting,
        tokens=tokens,
        struck=struck,
        heat=Heat(*(grid.by_hour(part) for part in drawn.heat)),
        it_power=grid.by_hour(drawn.it_power),
        server_power=grid.by_hour(drawn.servers),
        limit=grid.by_hour(settled.sources.limit),
        available={name: grid.by_hour(p) for name, p in settled.sources.available.items()},
        dispatch=_hourly(drawn.fed, grid),
        moments=Moments(settled.sources, held, settled.speed, drawn.heat.facility, drawn.fed),
    )


class _Drawn(NamedTuple):
    """What the site then drew; [S] each."""

    it_power: Array
    servers: Array
    """Of one server of each pool, [P, S]."""
    heat: Heat
    fed: Dispatch


def _drawn(scene: Scene, settled: Stage, running: Array, there: Array, waiting: Array) -> _Drawn:
    grid, sources = settled.grid, settled.sources
    cluster, load, held, working = scene.cluster, settled.load, settled.held, grid.at(running)
    it_power = control.mean(cluster, load, held, working, grid.at(there))
    each = control.servers(cluster, load, held, working)
    warmth = heat(scene.site.cooling, it_power, *settled.weather)
    at_work = grid.at(waiting) < HOUR  # generators stop when the run is over
    fed = dispatch(
        warmth.facility,
        sources.followed.reach,
        sources.order,
        sources.storages,
        {name: floor * at_work for name, floor in sources.followed.floor.items()},
        grid.length,
    )
    return _Drawn(it_power, each, warmth, fed)


def _pace(grid: Slots, speed: Array, held: Held, replicas: Array) -> tuple[Array, Array]:
    """Speed and share of replicas by hour, over the time in which servers are on at all."""
    share = np.floor(held.on * replicas + 1e-9) / np.maximum(replicas, 1.0)
    share = np.where(replicas > 0, share, 1.0)
    lit = grid.by_hour((share > 0).astype(float))
    pace = _ratio(grid.by_hour(speed * share), grid.by_hour(share))
    return np.where(lit > 0, pace, 1.0), np.where(lit > 0, _ratio(grid.by_hour(share), lit), 0.0)


def _hourly(fed: Dispatch, grid: Slots) -> Dispatch:
    last = np.flatnonzero(np.diff(grid.hour, append=-1))
    return Dispatch(
        {name: grid.by_hour(power) for name, power in fed.sources.items()},
        {name: energy[last] for name, energy in fed.stored.items()},
        grid.by_hour(fed.unserved),
    )


def _rate(scene: Scene, epochs: Epochs) -> Array:
    """Tokens per second at the planned cap, as the step time turns out."""
    return epochs.by_hour("rate") * np.exp(-scene.luck * epochs.by_hour("spread"))


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _with_spares(cluster: Cluster, job: Array, ready: Array) -> Array:
    """GPUs of the job and of the servers that stand by for it, [P, H]."""
    each = per_node(cluster)
    spare = np.floor(cluster.spares * ready / each) * each
    return np.asarray(np.where(job > 0, np.minimum(job + spare, ready), 0.0))


def _failures(
    scene: Scene,
    epochs: Epochs,
    job: Array,
    short: Stops,
    climb: Array,
    generators: Sequence[np.random.Generator],
) -> tuple[Struck, Interruptions]:
    pools = list(scene.cluster.pools.values())
    switches = job.sum(axis=0) / scene.cluster.gpus * scene.fabric.switches
    rate = interruptions.rates(
        scene.cluster, scene.failures, scene.fleet, job, switches, scene.hours
    )
    struck = interruptions.draw(scene.failures, pools, rate, generators)
    changes = shedding.joined(_changes(epochs, scene.hours.size), short)
    stops = interruptions.interruptions(
        scene.failures, len(pools), struck, epochs.plans, epochs.of_hour, climb, changes
    )
    return struck, stops


def _changes(epochs: Epochs, hours: int) -> Stops:
    """Stops at which the running plan changes, and how long nothing can run after each."""
    ends = np.append(epochs.starts[1:], hours)
    times, lasting, begun = [], [], False
    for plan, start, end in zip(epochs.plans, epochs.starts, ends, strict=True):
        if begun:
            times.append(start * HOUR)
            lasting.append((end - start) * HOUR if plan.total == 0 else 0.0)
        begun = begun or plan.total > 0
    idle = np.array(lasting, dtype=float)
    return Stops(np.array(times, dtype=float), idle, np.zeros(idle.size, bool), idle > 0)


def _working(scene: Scene, epochs: Epochs, job: Array, powered: Array, out: Array) -> Array:
    """Share of the job's replicas that have all their servers, spares put in first."""
    spare = (powered - job) / per_node(scene.cluster)
    missing = np.maximum(out - spare, 0.0) * per_node(scene.cluster)
    replica = np.maximum(epochs.by_hour("replica"), 1.0)
    replicas = np.maximum(epochs.by_hour("replicas"), 1.0)
    lost = np.ceil(missing.sum(axis=0) / replica)
    return np.asarray(np.clip(1 - lost / replicas, 0.0, 1.0))
