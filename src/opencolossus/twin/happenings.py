"""The event log: what a person would write into the diary of the site."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencolossus.faults.process import HOUR
from opencolossus.power.supply import present
from opencolossus.specs.sources import Generators
from opencolossus.specs.units import DURATION, POWER, show
from opencolossus.twin.operating import Operating
from opencolossus.twin.record import Event
from opencolossus.twin.scene import Played, Scene

Array = NDArray[np.float64]
ORDER = (
    "weather",
    "storm",
    "order",
    "outage",
    "trip",
    "permit",
    "supply",
    "delivery",
    "plan",
    "servers",
    "run",
    "deadline",
)
"""Causes before effects among events of one hour."""


def happenings(scene: Scene, played: Played, permits: dict[str, int]) -> tuple[Event, ...]:
    """All events in order of time; ``permits`` tells the hour at which each ran out."""
    events = [
        *_supply(scene),
        *_plans(scene, played),
        *_deliveries(scene),
        *_orders(scene),
        *_outages(scene),
        *_trips(scene, played),
        *_servers(played),
        *_weather(scene),
        *_goals(scene, played),
        *_storms(scene),
    ]
    for name, hour in permits.items():
        text = f"The permit of {name} for nitrogen oxides is used up"
        events.append(Event(scene.hours[hour], "permit", text))
    return tuple(sorted(events, key=lambda event: (event.time, ORDER.index(event.kind))))


def _supply(scene: Scene) -> list[Event]:
    events = []
    for name, source in scene.site.power.items():
        there = present(source, scene.hours)
        for hour in np.flatnonzero(np.diff(there.astype(int))) + 1:
            power = show(source.limit, POWER, 4)
            text = f"{power} from {name} from now on"
            if not there[hour]:
                text = f"No more power from {name} ({power})"
            events.append(Event(scene.hours[hour], "supply", text))
    return events


def _plans(scene: Scene, played: Played) -> list[Event]:
    epochs = played.epochs
    return [
        Event(scene.hours[start], "plan", _describe(plan))
        for start, plan in zip(epochs.starts, epochs.plans, strict=True)
    ]


def _describe(plan: Operating) -> str:
    if plan.total == 0:
        return f"Nothing runs: {plan.layout}"
    layout = f", {plan.layout}" if plan.layout else ""
    return (
        f"{plan.total:,} GPUs at {plan.cap:.0%} of rated power{layout}: "
        f"{plan.rate / 1e6:.3g} M tokens/s"
    )


def _deliveries(scene: Scene) -> list[Event]:
    events = []
    for row, name in enumerate(scene.cluster.pools):
        total = scene.fleet.delivered[row]
        arrived = np.diff(total, prepend=total[0])
        events += [
            Event(scene.hours[hour], "delivery", f"{arrived[hour]:,.0f} GPUs arrive ({name})")
            for hour in np.flatnonzero(arrived > 0)
        ]
    return events


def _orders(scene: Scene) -> list[Event]:
    events = []
    for order in scene.site.orders:
        begin = np.datetime64(order.start, "s")
        if scene.hours[0] <= begin.astype("datetime64[h]") <= scene.hours[-1]:
            base = "than is drawn " if order.of == "draw" else ""
            text = f"The utility asks for {order.reduction:.0%} less {base}"
            text += f"for {order.duration / HOUR:g} h"
            if order.notice:
                text += f", {show(order.notice, DURATION, 3)} ahead"
            events.append(Event(begin, "order", text))
            end = begin + np.timedelta64(round(order.duration), "s")
            if end.astype("datetime64[h]") <= scene.hours[-1]:
                events.append(Event(end, "order", "The order is over"))
    return events


def _outages(scene: Scene) -> list[Event]:
    events = []
    for outage in scene.site.outages:
        begin = np.datetime64(outage.start, "s")
        end = begin + np.timedelta64(round(outage.duration), "s")
        text = f"{outage.source} fails for {show(outage.duration, DURATION, 3)}"
        for moment, words in ((begin, text), (end, f"{outage.source} is back")):
            if scene.hours[0] <= moment.astype("datetime64[h]") <= scene.hours[-1]:
                events.append(Event(moment, "outage", words))
    return events


def _trips(scene: Scene, played: Played) -> list[Event]:
    events = []
    for name, trips in played.moments.supplied.trips.items():
        source = scene.site.power[name]
        what = f"One of {source.units} units of {name}" if source.units > 1 else name
        lost = source.unit if isinstance(source, Generators) else source.limit
        moments = scene.hours[0].astype("datetime64[s]") + trips.start.astype("timedelta64[s]")
        for moment, lasting in zip(moments, trips.duration, strict=True):
            text = f"{what} trips ({show(lost, POWER, 3)}), back after {lasting / HOUR:.0f} h"
            events.append(Event(moment, "trip", text))
    return events


def _servers(played: Played) -> list[Event]:
    """Servers that go off for want of power, and come back."""
    grid, on = played.moments.supplied.slots, played.moments.held.on
    at_work = grid.at(played.job.sum(axis=0)) > 0
    changed = np.flatnonzero((np.diff(on, prepend=1.0) != 0) & at_work)
    return [
        Event(
            grid.moments[slot],
            "servers",
            "All servers are on again"
            if on[slot] == 1
            else f"{on[slot]:.0%} of the servers stay on: power is short",
        )
        for slot in changed
    ]


def _weather(scene: Scene) -> list[Event]:
    return [
        Event(
            np.datetime64(wave.start, "h"),
            "weather",
            f"Heat wave: {wave.dry_bulb:g} K warmer for {wave.days:g} days",
        )
        for wave in scene.site.heat_waves
        if scene.hours[0] <= np.datetime64(wave.start, "h") <= scene.hours[-1]
    ]


def _storms(scene: Scene) -> list[Event]:
    return [
        Event(
            np.datetime64(storm.start, "h"),
            "storm",
            f"{storm.cause} failures at {storm.factor:g} times their rate for {storm.days:g} days",
        )
        for storm in scene.failures.storms
        if scene.hours[0] <= np.datetime64(storm.start, "h") <= scene.hours[-1]
    ]


def _goals(scene: Scene, played: Played) -> list[Event]:
    run = scene.description.run
    done = np.flatnonzero(np.cumsum(played.tokens) >= run.tokens * (1 - 1e-9))
    events = []
    working = np.flatnonzero(played.tokens > 0)
    if working.size:
        events.append(Event(scene.hours[working[0]], "run", "The first tokens are trained on"))
    if done.size:
        events.append(Event(scene.hours[done[0]], "run", "The last token is trained on"))
    if run.deadline is not None:
        day = np.datetime64(run.deadline, "h")
        if scene.hours[0] <= day <= scene.hours[-1]:
            late = not done.size or scene.hours[done[0]] > day
            events.append(Event(day, "deadline", "Deadline " + ("missed" if late else "met")))
    return events
