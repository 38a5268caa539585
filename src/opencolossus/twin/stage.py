"""What is settled before anything of the run breaks: sources, caps, speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling.heat import heat, pue, throttle
from opencolossus.power import supply
from opencolossus.power.slots import HOUR, Slots, slots
from opencolossus.power.trips import Trips, draw
from opencolossus.twin import control, shedding
from opencolossus.twin.control import Held, Load
from opencolossus.twin.epochs import Epochs
from opencolossus.twin.fleet import per_node
from opencolossus.twin.scene import Scene
from opencolossus.twin.supplied import Supplied, climbs, supplied

Array = NDArray[np.float64]


class Stage(NamedTuple):
    """What is settled before anything breaks: sources, caps, speed; [S] each."""

    grid: Slots
    weather: tuple[Array, Array]
    load: Load
    sources: Supplied
    climb: Array
    """Time in s that each plan's restarts lose while the sources climb."""
    held: Held
    clock: Array
    speed: Array


def stage(
    scene: Scene,
    epochs: Epochs,
    powered: Array,
    used_up: Mapping[str, int],
    generator: np.random.Generator,
) -> Stage:
    """Settle sources, caps and speeds for the plans of ``epochs``.

    ``powered`` [P, H] are the GPUs that ought to be on, ``used_up`` the hours at which permits are
    spent; trips of sources are drawn from ``generator``.
    """
    cluster, site = scene.cluster, scene.site
    trips = _trips(scene, generator)
    grid = slots(scene.hours, supply.busy_hours(site, scene.hours, epochs.starts, trips))
    weather = (grid.at(scene.weather[0]), grid.at(scene.weather[1]))
    load = _load(scene, epochs, powered, grid)
    sources, climb = _sources(scene, epochs, grid, load, weather, trips, used_up)
    effectiveness = pue(site.cooling, 1.0, *weather)
    held = control.hold(cluster, load, sources.peaks / effectiveness)
    if sources.metered.any():
        asked = np.where(sources.metered, sources.limit, np.inf)
        held = control.meter(cluster, load, held, asked / effectiveness)
    held = shedding.settle(held, grid)
    hottest = heat(site.cooling, control.peak(cluster, load, held.cap, held.on), *weather)
    clock = throttle(site.cooling, hottest.supply)
    speed = control.speed(cluster, load, held.cap, clock)
    return Stage(grid, weather, load, sources, climb, held, clock, speed)


def _trips(scene: Scene, generator: np.random.Generator) -> dict[str, Trips]:
    """Trips of the sources while they are there."""
    drawn = draw(scene.site.power, scene.hours.size * HOUR, generator)
    begin = scene.hours[0].astype("datetime64[s]")
    found = {}
    for name, trips in drawn.items():
        moments = begin + trips.start.astype("timedelta64[s]")
        there = supply.present(scene.site.power[name], moments)
        found[name] = Trips(trips.start[there], trips.duration[there])
    return found


def _sources(
    scene: Scene,
    epochs: Epochs,
    grid: Slots,
    load: Load,
    weather: tuple[Array, Array],
    trips: Mapping[str, Trips],
    used_up: Mapping[str, int],
) -> tuple[Supplied, Array]:
    """What the sources can carry, and what each plan's restarts lose while they climb."""
    cluster, site = scene.cluster, scene.site
    effectiveness = pue(site.cooling, 1.0, *weather)
    held = Held(load.cap, np.ones(grid.length.shape))
    ones = np.ones((len(cluster.pools), 1))
    peak = control.peak(cluster, load, load.cap) * effectiveness
    usual = control.mean(cluster, load, held, np.array(1.0), ones) * effectiveness
    idle = control.mean(cluster, load, held, np.array(0.0), ones) * effectiveness
    sources = supplied(site, grid, trips, used_up, peak, usual)
    return sources, climbs(site, sources, usual, idle, epochs.starts)


def _load(scene: Scene, epochs: Epochs, powered: Array, grid: Slots) -> Load:
    network = powered.sum(axis=0) / scene.cluster.gpus * _network_power(scene)
    return Load(
        nodes=grid.at(powered / per_node(scene.cluster)),
        network=grid.at(network),
        cap=grid.at(epochs.by_hour("cap")),
        compute=grid.at(epochs.by_hour("compute")),
        memory=grid.at(epochs.by_hour("memory")),
        communication=grid.at(epochs.by_hour("communication")),
    )


def _network_power(scene: Scene) -> float:
    """Switches of the whole fabric with their optical modules, in W."""
    switch = scene.cluster.fabric.switch
    return scene.fabric.switches * switch.power if switch else 0.0
