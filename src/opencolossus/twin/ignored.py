"""What a description plans for times that are not played."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np

from opencolossus.power.supply import present
from opencolossus.specs.failures import Storm
from opencolossus.specs.site import HeatWave
from opencolossus.specs.sources import Battery, Generators, Grid, Order, Outage
from opencolossus.twin.scene import Scene


def ignored(scene: Scene) -> list[str]:
    """A sentence on each order, outage, heat wave and storm that can do nothing."""
    calendar = scene.description.calendar
    assert calendar is not None
    first = dt.datetime.combine(calendar.start, dt.time())
    last = dt.datetime.combine(calendar.end + dt.timedelta(days=1), dt.time())
    return [
        f"{name} ({_day(start)}) lies outside the calendar ({calendar.start} to {calendar.end}) "
        f"and does nothing"
        for name, start, end in _planned(scene)
        if start >= last or end <= first
    ] + [*_without_grid(scene), *_in_the_dark(scene)]


def _planned(scene: Scene) -> Iterator[tuple[str, dt.datetime, dt.datetime]]:
    """(path, begin, end) of everything that has a date of its own."""
    moments: list[tuple[str, Sequence[Order | Outage]]] = [
        ("site.orders", scene.site.orders),
        ("site.outages", scene.site.outages),
    ]
    days: list[tuple[str, Sequence[HeatWave | Storm]]] = [
        ("site.heat_waves", scene.site.heat_waves),
        ("cluster.failures.storms", scene.failures.storms),
    ]
    for path, sudden in moments:
        for index, one in enumerate(sudden):
            yield f"{path}[{index}]", one.start, one.start + dt.timedelta(seconds=one.duration)
    for path, long in days:
        for index, wave in enumerate(long):
            begin = dt.datetime.combine(wave.start, dt.time())
            yield f"{path}[{index}]", begin, begin + dt.timedelta(days=wave.days)


def _without_grid(scene: Scene) -> Iterator[str]:
    """Orders that come while none of the grids that they name delivers."""
    for index, order in enumerate(scene.site.orders):
        grids = [
            source
            for name, source in scene.site.power.items()
            if isinstance(source, Grid) and order.source in (None, name)
        ]
        if not any(grid.delivers_on(order.start.date()) for grid in grids):
            why = f"{order.source} is not" if order.source else "no grid is"
            yield f"site.orders[{index}] ({_day(order.start)}) does nothing: {why} there then"


def _in_the_dark(scene: Scene) -> Iterator[str]:
    """Plants that wait for somebody to give them the power to start with."""
    power = scene.site.power
    waiting = [n for n, s in power.items() if isinstance(s, Generators) and not s.starts_dark]
    starters = [
        s
        for n, s in power.items()
        if isinstance(s, Grid | Battery | Generators) and n not in waiting
    ]
    lit = np.logical_or.accumulate(
        np.any([present(s, scene.hours) for s in starters], axis=0)
        if starters
        else np.zeros(scene.hours.shape, dtype=bool)
    )
    for name in waiting:
        dark = np.flatnonzero(present(power[name], scene.hours) & ~lit)
        if dark.size:
            until = scene.hours[dark[-1]] + np.timedelta64(1, "h")
            yield (
                f"{name} stands still until {until.astype('datetime64[D]')}: no grid, battery or "
                f"genset gives it the power to start; black_start: true lets it start alone"
            )


def _day(moment: dt.datetime) -> str:
    return str(np.datetime64(moment, "m")).replace("T", " ")
