"""What the sudden events of a simulation did, in a sentence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencolossus.specs import units
from opencolossus.twin.record import Event, Record

Array = NDArray[np.float64]
HOURS_AFTER = 3
CALM = 24
"""Hours before an event that it is compared with."""


def told_event(record: Record) -> list[str]:
    """A sentence on the first outage or order, or on a permit, a storm, a heat wave; or none."""
    for kind, tell in (
        ("outage", _short),
        ("order", _short),
        ("permit", _permit),
        ("storm", _storm),
        ("weather", _weather),
    ):
        found = [event for event in record.events if event.kind == kind]
        if found:
            return [tell(record, found[0])]
    return []


def _hour(record: Record, event: Event) -> int:
    return int(np.searchsorted(record.hours, event.time.astype("datetime64[h]")))


def _short(record: Record, event: Event) -> str:
    """Power was short: what did batteries, caps and servers do?"""
    hour = _hour(record, event)
    during, before = slice(hour, hour + HOURS_AFTER), slice(max(hour - CALM, 0), hour)
    if not record["gpus.job"][during].any():
        return f"{_begin(event)}; no job was running."
    batteries = [
        record.moments[f"source.{name}"][_minutes(record, event)].max(initial=0.0)
        for name in record.prefixed("stored")
    ]
    did = []
    if sum(batteries) > 0:
        did.append(f"batteries gave up to {units.show(float(sum(batteries)), units.POWER, 3)}")
    usual, lowest = _mean(record["cap_w"][before]), _lowest(record, event)
    if lowest < 0.98 * usual:
        did.append(f"caps went down from {usual:.0f} to {lowest:.0f} W")
    on = record.moments["on"][_minutes(record, event)].min(initial=1.0)
    did.append("no server went off" if on == 1 else f"only {on:.0%} of the servers stayed on")
    return f"{_begin(event)}: {', '.join(did[:-1])}{' and ' if did[:-1] else ''}{did[-1]}."


def _begin(event: Event) -> str:
    moment = event.time.astype("datetime64[m]").item()
    return f"On {moment.day} {moment:%B at %H:%M} {_inside(event)}"


def _inside(event: Event) -> str:
    """The event's text within a sentence; names keep their first letter."""
    told = event.kind in ("order", "permit")
    return event.text[0].lower() + event.text[1:] if told else event.text


def _minutes(record: Record, event: Event) -> NDArray[np.bool_]:
    time = record.moments["time"]
    return np.asarray((time >= event.time) & (time < event.time + np.timedelta64(3, "h")))


def _lowest(record: Record, event: Event) -> float:
    """Lowest cap in W in the minutes after an event."""
    minutes = _minutes(record, event)
    hour = _hour(record, event)
    rated = record["cap_w"][hour - 1] / max(_before(record, event), 1e-9)
    return float(record.moments["cap"][minutes].min(initial=1.0) * rated)


def _before(record: Record, event: Event) -> float:
    place = int(np.searchsorted(record.moments["time"], event.time)) - 1
    return float(record.moments["cap"][max(place, 0)])


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else 0.0


def _permit(record: Record, event: Event) -> str:
    hour = _hour(record, event)
    tokens = record["tokens"]
    after = tokens[hour + 1 : hour + 1 + 168]
    before = tokens[max(hour - 168, 0) : hour]
    fall = f"from {_pace(before)} to {_pace(after)}"
    return f"On {_day(event)} {_inside(event)}, and the pace fell {fall}."


def _pace(tokens: Array) -> str:
    return f"{units.show(_mean(tokens) * 24, units.COUNT, 3)} tokens a day"


def _storm(record: Record, event: Event) -> str:
    hour = _hour(record, event)
    days = [record["time.work"][hour + 24 * d : hour + 24 * d + 24].mean() / 36 for d in (-1, 0)]
    return (
        f"On {_day(event)} a storm began, {event.text}: work that counts fell from {days[0]:.0f} % "
        f"of the time the day before to {days[1]:.0f} %."
    )


def _weather(record: Record, event: Event) -> str:
    hour = _hour(record, event)
    struck = slice(hour, hour + 120)
    water, slow = record["temperature.supply"][struck].max(), record["speed"][struck].min()
    return (
        f"From {_day(event)} on the air was warmer than usual ({event.text.partition(': ')[2]}): "
        f"water reached the cold plates at up to {water:.0f} °C, and GPUs ran at {slow:.0%} of "
        f"their speed at worst."
    )


def _day(event: Event) -> str:
    return f"{event.time.astype('datetime64[D]').item():%-d %B}"
