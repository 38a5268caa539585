"""One pass over the calendar: plans, caps, failures, tokens and watts, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling.heat import Heat, heat, pue, throttle
from opencolossus.fabric.clos import Clos
from opencolossus.faults.process import HOUR
from opencolossus.faults.timeline import Account, Interruptions
from opencolossus.power.dispatch import Dispatch, Storage, carried, dispatch
from opencolossus.power.supply import contracted, merit_order
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.failures import Failures
from opencolossus.specs.site import Site
from opencolossus.twin import control, interruptions
from opencolossus.twin.control import Held, Load
from opencolossus.twin.epochs import Epochs
from opencolossus.twin.fleet import Fleet
from opencolossus.twin.interruptions import Struck
from opencolossus.twin.progress import account_of, until_done, while_running

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """What is given before anything is played."""

    description: Description
    site: Site
    cluster: Cluster
    failures: Failures
    hours: NDArray[np.datetime64]
    weather: tuple[Array, Array]
    """Dry and wet bulb, [H] each."""
    fleet: Fleet
    fabric: Clos
    """Sized for the whole cluster; parts are on in proportion to the GPUs that are."""
    storages: dict[str, Storage]
    luck: float
    """How the step time turns out, in standard deviations of its prediction; below 0 is faster."""


@dataclass(frozen=True)
class Played:
    """What happened; [H] unless said."""

    epochs: Epochs
    job: Array
    """GPUs in the job, [P, H]."""
    powered: Array
    """GPUs that are on, spares included, [P, H]."""
    repair: Array
    """GPUs in repair, [P, H]."""
    held: Held
    clock: Array
    """Share of the clock that the temperature of the water leaves."""
    speed: Array
    """Of a step, relative to the plan."""
    working: Array
    """Share of the job's replicas that work."""
    account: Account
    waiting: Array
    """Seconds before the job starts and after it ends."""
    tokens: Array
    struck: Struck
    heat: Heat
    it_power: Array
    limit: Array
    """Power that could be carried, in W at the site's entry."""
    dispatch: Dispatch


def play(
    scene: Scene, epochs: Epochs, available: dict[str, Array], seed: np.random.SeedSequence
) -> Played:
    """Play the whole calendar with the plans of ``epochs`` and ``available`` W by source."""
    cluster, site = scene.cluster, scene.site
    job = epochs.gpus(list(cluster.pools))
    powered = _with_spares(cluster, job, scene.fleet.ready)
    load, ones = _load(scene, epochs, powered), np.ones(scene.hours.size)
    effectiveness = pue(site.cooling, 1.0, *scene.weather)
    limit = carried(
        _through_orders(scene, control.peak(cluster, load, load.cap) * effectiveness, available),
        control.mean(cluster, load, Held(load.cap, ones), ones, np.ones(job.shape)) * effectiveness,
        available,
        scene.storages,
    )
    held = control.hold(cluster, load, limit / effectiveness)
    hottest = heat(site.cooling, control.peak(cluster, load, held.cap, held.on), *scene.weather)
    clock = throttle(site.cooling, hottest.supply)
    speed = control.speed(cluster, load, held.cap, clock)

    struck, stops = _failures(scene, epochs, job * held.on, seed)
    working = (
        _working(scene, epochs, job, powered, struck.out)
        * np.floor(held.on * epochs.by_hour("replicas"))
        / np.maximum(epochs.by_hour("replicas"), 1)
    )
    shares, waiting = account_of(scene.hours.size, epochs, stops)
    tokens, shares, waiting = until_done(
        scene.description.run.tokens, shares, waiting, _rate(scene, epochs) * speed * working
    )

    running = np.clip((shares.work + shares.rework) / HOUR, 0.0, 1.0)
    there = 1 - _ratio(struck.out, powered / _per_node(cluster))
    it_power = control.mean(cluster, load, held, running, np.clip(there, 0.0, 1.0))
    warmth = heat(site.cooling, it_power, *scene.weather)
    fed = dispatch(warmth.facility, available, merit_order(site), scene.storages)
    struck = while_running(struck, waiting)
    repair = np.minimum(struck.out * _per_node(cluster), scene.fleet.ready)
    return Played(
        epochs=epochs,
        job=job,
        powered=powered * held.on,
        repair=repair,
        held=held,
        clock=clock,
        speed=speed,
        working=working,
        account=shares,
        waiting=waiting,
        tokens=tokens,
        struck=struck,
        heat=warmth,
        it_power=it_power,
        limit=limit,
        dispatch=fed,
    )


def _rate(scene: Scene, epochs: Epochs) -> Array:
    """Tokens per second at the planned cap, as the step time turns out."""
    return epochs.by_hour("rate") * np.exp(-scene.luck * epochs.by_hour("spread"))


def _per_node(cluster: Cluster) -> Array:
    return np.array([[pool.node.gpus] for pool in cluster.pools.values()], dtype=float)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _with_spares(cluster: Cluster, job: Array, ready: Array) -> Array:
    """GPUs of the job and of the servers that stand by for it, [P, H]."""
    each = _per_node(cluster)
    spare = np.floor(cluster.spares * ready / each) * each
    return np.asarray(np.where(job > 0, np.minimum(job + spare, ready), 0.0))


def _through_orders(scene: Scene, peak: Array, available: dict[str, Array]) -> Array:
    """What batteries must help to carry: ``peak``, as far as the contracts would without orders.

    Batteries are kept for hours in which the utility asks for less; a lack that lasts is met by
    a new plan.
    """
    whole = contracted(scene.site, scene.hours)
    firm = np.sum([np.where(available[n] > 0, whole[n], 0.0) for n in whole], axis=0)
    return np.asarray(np.minimum(peak, firm))


def _load(scene: Scene, epochs: Epochs, powered: Array) -> Load:
    return Load(
        nodes=powered / _per_node(scene.cluster),
        network=powered.sum(axis=0) / scene.cluster.gpus * _network_power(scene),
        cap=epochs.by_hour("cap"),
        compute=epochs.by_hour("compute"),
        memory=epochs.by_hour("memory"),
        communication=epochs.by_hour("communication"),
    )


def _network_power(scene: Scene) -> float:
    """Switches of the whole fabric with their optical modules, in W."""
    switch = scene.cluster.fabric.switch
    return scene.fabric.switches * switch.power if switch else 0.0


def _failures(
    scene: Scene, epochs: Epochs, job: Array, seed: np.random.SeedSequence
) -> tuple[Struck, Interruptions]:
    generators = [np.random.default_rng(child) for child in seed.spawn(2)]
    pools = len(scene.cluster.pools)
    switches = job.sum(axis=0) / scene.cluster.gpus * scene.fabric.switches
    rate = interruptions.rates(
        scene.cluster, scene.failures, scene.fleet, job, switches, scene.hours
    )
    struck = interruptions.draw(scene.failures, pools, rate, generators)
    changes, lasting = _changes(epochs, scene.hours.size)
    stops = interruptions.interruptions(
        scene.failures, pools, struck, epochs.plans, epochs.of_hour, changes, lasting
    )
    return struck, stops


def _changes(epochs: Epochs, hours: int) -> tuple[Array, Array]:
    """Seconds at which the running plan changes, and how long nothing can run after each."""
    ends = np.append(epochs.starts[1:], hours)
    times, lasting, begun = [], [], False
    for plan, start, end in zip(epochs.plans, epochs.starts, ends, strict=True):
        if begun:
            times.append(start * HOUR)
            lasting.append((end - start) * HOUR if plan.total == 0 else 0.0)
        begun = begun or plan.total > 0
    return np.array(times), np.array(lasting)


def _working(scene: Scene, epochs: Epochs, job: Array, powered: Array, out: Array) -> Array:
    """Share of the job's replicas that have all their servers, spares put in first."""
    spare = (powered - job) / _per_node(scene.cluster)
    missing = np.maximum(out - spare, 0.0) * _per_node(scene.cluster)
    replica = np.maximum(epochs.by_hour("replica"), 1.0)
    replicas = np.maximum(epochs.by_hour("replicas"), 1.0)
    lost = np.ceil(missing.sum(axis=0) / replica)
    return np.asarray(np.clip(1 - lost / replicas, 0.0, 1.0))
