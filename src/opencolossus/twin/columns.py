"""From what was played to the columns of the record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling.heat import leaving
from opencolossus.faults.process import HOUR
from opencolossus.power.demand import provisioned_node_power
from opencolossus.power.dispatch import rolling_sum
from opencolossus.power.sun import tariff
from opencolossus.power.supply import present
from opencolossus.specs.site import Site
from opencolossus.specs.sources import Battery, Generators, Grid
from opencolossus.twin.interruptions import GROUPS
from opencolossus.twin.scene import Played, Scene

Array = NDArray[np.float64]
SHORT = 1e-3  # W that rounding may leave of gigawatts


def columns(scene: Scene, played: Played) -> dict[str, Array]:
    """All columns of the record, [H] each."""
    return (
        _gpus(scene, played)
        | _power(played)
        | _heat(scene, played)
        | _racks(scene, played)
        | _time(played)
        | _emissions(scene.site, played)
        | _dollars(scene, played)
    )


def minutes(played: Played) -> dict[str, NDArray[Any]]:
    """The minutes around events, [M] each; powers are means in W."""
    moments = played.moments
    grid = moments.supplied.slots
    columns = (
        {
            "power.facility": moments.facility,
            "power.limit": moments.supplied.limit,
            "cap": moments.held.cap,
            "on": moments.held.on,
            "speed": moments.speed,
        }
        | {f"source.{name}": power for name, power in moments.dispatch.sources.items()}
        | {f"running.{name}": power for name, power in moments.supplied.running.items()}
    )
    return {"time": grid.moments[grid.fine]} | {n: v[grid.fine] for n, v in columns.items()}


def _gpus(scene: Scene, played: Played) -> dict[str, Array]:
    pools = list(scene.cluster.pools)
    in_job = played.job.sum(axis=0)
    by_pool = {f"pool.{name}": played.powered[row] for row, name in enumerate(pools)}
    by_pool |= {f"delivered.{name}": scene.fleet.delivered[row] for row, name in enumerate(pools)}
    tdp = np.array([[pool.node.gpu.tdp] for pool in scene.cluster.pools.values()])
    rated = (played.job * tdp).sum(axis=0) / np.maximum(in_job, 1.0)
    return {
        "gpus.delivered": scene.fleet.delivered.sum(axis=0),
        "gpus.ready": scene.fleet.ready.sum(axis=0),
        "gpus.powered": played.powered.sum(axis=0),
        "gpus.job": in_job,
        "gpus.working": in_job * played.working * (played.waiting < HOUR),
        "gpus.repair": played.repair.sum(axis=0),
        "cap_w": played.cap * rated,
        "speed": played.speed * (in_job > 0),
        "tokens": played.tokens,
    } | by_pool


def _power(played: Played) -> dict[str, Array]:
    sources = {f"source.{name}": power for name, power in played.dispatch.sources.items()}
    limits = {f"limit.{name}": power for name, power in played.available.items()}
    stored = {f"stored.{name}": energy for name, energy in played.dispatch.stored.items()}
    return (
        {
            "power.facility": played.heat.facility,
            "power.it": played.it_power,
            "power.chillers": played.heat.chillers,
            "power.pumps_fans": played.heat.pumps_and_fans,
            "power.losses": played.heat.losses,
            "power.limit": played.limit,
            "power.unserved": np.where(
                played.dispatch.unserved > SHORT, played.dispatch.unserved, 0.0
            ),
        }
        | sources
        | limits
        | stored
    )


def _heat(scene: Scene, played: Played) -> dict[str, Array]:
    it = played.it_power
    recycled = scene.site.cooling.recycled_share
    water = played.heat.water * HOUR
    return {
        "temperature.dry_bulb": scene.weather[0],
        "temperature.wet_bulb": scene.weather[1],
        "temperature.supply": played.heat.supply,
        "clock_limit": played.clock,
        "pue": np.divide(played.heat.facility, it, out=np.full(it.shape, np.nan), where=it > 0),
        "water_m3": water * (1 - recycled),
        "water_recycled_m3": water * recycled,
    }


def _racks(scene: Scene, played: Played) -> dict[str, Array]:
    """Power of a rack of each pool that is on, and the water that leaves it."""
    found: dict[str, Array] = {}
    for row, (name, pool) in enumerate(scene.cluster.pools.items()):
        on = played.powered[row] > 0
        power = np.where(on, played.server_power[row], 0.0)
        full = provisioned_node_power(pool.node, pool.node.gpu.tdp)
        warm = leaving(scene.site.cooling, played.heat.supply, power / full)
        found[f"power.rack.{name}"] = power * pool.rack_servers
        found[f"temperature.rack.{name}"] = np.where(on, warm, np.nan)
    return found


def _time(played: Played) -> dict[str, Array]:
    account = played.account
    down = {f"time.{name}": account.down[row] for row, name in enumerate(GROUPS)}
    return {
        "time.work": account.work,
        "time.checkpoint": account.checkpoint,
        "time.rework": account.rework,
        "time.waiting": played.waiting,
        "interruptions": np.bincount(
            np.minimum(played.struck.strikes.time // HOUR, played.waiting.size - 1).astype(int),
            minlength=played.waiting.size,
        ).astype(float),
    } | down


def _emissions(site: Site, played: Played) -> dict[str, Array]:
    found: dict[str, Array] = {}
    hours = played.tokens.size
    co2, nox = np.zeros(hours), np.zeros(hours)
    for name, source in site.power.items():
        if isinstance(source, Battery):
            continue
        energy = played.dispatch.sources[name] * HOUR
        co2 = co2 + energy * source.carbon
        if isinstance(source, Generators):
            emitted = energy * source.nox
            nox = nox + emitted
            found[f"fuel_j.{name}"] = energy * source.heat_rate
            if source.permit is not None:
                found[f"permit_nox_kg.{name}"] = rolling_sum(emitted, source.permit.used)
    return {"co2_kg": co2, "nox_kg": nox} | found


def _dollars(scene: Scene, played: Played) -> dict[str, Array]:
    site, hours = scene.site, scene.hours
    energy, demand, rent, service = np.zeros((4, hours.size))
    for name, source in site.power.items():
        used = played.dispatch.sources[name] * HOUR
        if isinstance(source, Grid):
            energy = energy + used * tariff(source, hours)
            demand = demand + _demand_charge(source, played.dispatch.sources[name], hours)
        elif isinstance(source, Generators):
            energy = energy + used * source.heat_rate * source.fuel_price
            service = service + used * source.maintenance
            rent = rent + present(source, hours) * source.count * source.rent / 24
    return _machines(scene, played) | {
        "usd.energy": energy,
        "usd.demand": demand,
        "usd.maintenance": service,
        "usd.rent": rent,
        "usd.water": played.heat.water * HOUR * site.water_price,
    }


def _machines(scene: Scene, played: Played) -> dict[str, Array]:
    """What servers cost when they come, and rented GPUs from then until the last token."""
    delivered = scene.fleet.delivered
    last = np.flatnonzero(played.tokens > 0)[-1:]
    done = last.size and played.tokens.sum() >= scene.description.run.tokens * (1 - 1e-9)
    needed = np.arange(played.tokens.size) <= (last[0] if done else played.tokens.size)
    hardware, rent = np.zeros((2, played.tokens.size))
    for row, pool in enumerate(scene.cluster.pools.values()):
        if pool.gpu_hour is not None:
            rent = rent + delivered[row] * needed * pool.gpu_hour
            continue
        price = pool.node.price
        if price is None:
            price = (pool.node.gpu.price or 0.0) * pool.node.gpus
        hardware = hardware + np.diff(delivered[row], prepend=0.0) / pool.node.gpus * price
    return {"usd.hardware": hardware, "usd.gpus": rent}


def _demand_charge(source: Grid, power: Array, hours: NDArray[np.datetime64]) -> Array:
    """What the month's highest hour costs, spread over the hours of the month that are played."""
    _, month = np.unique(hours.astype("datetime64[M]"), return_inverse=True)
    highest = np.zeros(int(month.max()) + 1)
    np.maximum.at(highest, month, power)
    return np.asarray(highest[month] * source.demand_charge * HOUR)
