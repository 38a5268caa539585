"""A simulation in words: five sentences, key figures."""

from __future__ import annotations

from datetime import date
from typing import Any

from opencolossus.report.simulation_event import told_event
from opencolossus.specs import units
from opencolossus.twin.record import Record

LOSSES = {
    "gpu": "GPU failures",
    "silent": "silent corruption",
    "host": "host failures",
    "network": "network failures",
    "software": "software failures",
    "site": "site without power",
    "planned": "maintenance",
    "change": "changes of plan",
    "checkpoint": "checkpoints",
    "rework": "work done twice",
    "throttled": "caps below plan and heat",
    "missing": "servers in repair",
}


def story(record: Record) -> list[str]:
    """What happened, in five sentences."""
    s = record.summary
    told = [_power_sentence(s), _tokens_sentence(s), _time_sentence(s)]
    event, used, bill = told_event(record), _used(s), _bill(s)
    told += [*event, f"{used}; {bill}."] if event else [f"{used}.", f"{bill[0].upper()}{bill[1:]}."]
    return [*told, _runs_sentence(s)] if "runs" in s else told


def _power_sentence(s: dict[str, Any]) -> str:
    gpus = s["gpus"]
    return (
        f"Between {day(s['start'])} and {day(s['end'])}, the site received "
        f"{gpus['delivered']:,.0f} GPUs and powered up to {gpus['powered']:,.0f} of them, "
        f"capped at {gpus['cap_w']:,.0f} W; it drew {amount(s['peak_power'], units.POWER)} at "
        f"most, at a PUE of {s['pue']:.2f}."
    )


def _tokens_sentence(s: dict[str, Any]) -> str:
    done, goal, finish = count(s["tokens"]), count(s["tokens_goal"]), s["finish"]
    if finish["reached"]:
        text = f"All {goal} tokens were trained on by {day(finish['day'])}"
    elif finish["day"]:
        text = f"{done} of {goal} tokens were trained on; at this pace the rest takes until "
        text += day(finish["day"])
    else:
        text = f"{done} of {goal} tokens were trained on, and nothing moves at the end"
    if s["deadline"] is None or finish["day"] is None:
        return text + "."
    days = (date.fromisoformat(finish["day"]) - date.fromisoformat(s["deadline"])).days
    if days > 0:
        return f"{text}, {days} days after the deadline of {day(s['deadline'])}."
    return f"{text}, {-days} days before the deadline of {day(s['deadline'])}."


def _time_sentence(s: dict[str, Any]) -> str:
    if s["ettr"] is None:
        return "The run never started."
    worst = sorted(s["loss"].items(), key=lambda item: -item[1])[:2]
    lost = " and ".join(f"{LOSSES[name]} ({share:.1%})" for name, share in worst if share > 0)
    return (
        f"The run was interrupted {s['interruptions']:,} times and spent {s['ettr']:.1%} of its "
        f"time on work that counts (ETTR)" + (f"; most was lost to {lost}." if lost else ".")
    )


def _emitted(s: dict[str, Any]) -> str:
    text = f"{amount(s['co2'], units.MASS)} of CO2"
    return f"{text} and {amount(s['nox'], units.MASS)} of NOx" if s["nox"] > 0 else text


def _water(s: dict[str, Any]) -> str:
    return f"{s['water'] / 1e3:,.1f} million litres of water" if s["water"] > 0 else "no water"


def _sources(s: dict[str, Any]) -> str:
    total = sum(s["energy_by_source"].values()) or 1.0
    shares = sorted(s["energy_by_source"].items(), key=lambda item: -item[1])
    return ", ".join(f"{v / total:.0%} from {k}" for k, v in shares if v / total >= 0.005)


def _used(s: dict[str, Any]) -> str:
    return (
        f"The site used {amount(s['energy'], units.ENERGY)}, {_sources(s)}, emitted {_emitted(s)}, "
        f"and took {_water(s)}"
    )


def _bill(s: dict[str, Any]) -> str:
    usd = s["usd"]
    running = sum(usd[name] for name in ("energy", "demand", "rent", "maintenance", "water"))
    what = "power, generators and water" if usd["rent"] + usd["maintenance"] else "power and water"
    machines = [f"{amount(usd['hardware'], units.MONEY)} of servers"] if usd["hardware"] else []
    machines += [f"{amount(usd['gpus'], units.MONEY)} of rented GPUs"] if usd["gpus"] else []
    beside = f", beside {' and '.join(machines)}" if machines else ""
    unknown = s["site"]["unpriced"]
    without = f"; no price of {' or '.join(unknown)} is known" if unknown else ""
    return f"{what} cost {amount(running, units.MONEY)}{beside}{without}"


def _runs_sentence(s: dict[str, Any]) -> str:
    runs = s["runs"]
    tokens, finish = runs["figures"]["tokens"], runs["finish"]
    low, high = (day(finish[q]) if finish[q] else "never" for q in ("p5", "p95"))
    done, most = count(tokens["p5"]), count(tokens["p95"])
    text = f"Over {runs['count']} draws of failures and of the step time, 90 % of the runs "
    text += f"end between {low} and {high}" if low != high else f"end on {low}"
    if done != most:
        text += f" and trained on {done} to {most} tokens in this time"
    if runs["on_time"] is not None:
        text += f"; {runs['on_time']:.0%} meet the deadline"
    return text + "."


def rhythm_text(record: Record) -> str:
    """How hard the power of the site swings, and what would smooth it."""
    r = record.summary["rhythm"]
    text = (
        f"All GPUs compute and wait together: within each step of "
        f"{amount(r['step_time'], units.DURATION)} the power of {r['gpus']:,} GPUs "
        f"swings by {amount(r['swing'], units.POWER)}, and by {amount(r['stop'], units.POWER)} "
        f"when all of them stop, at up to {amount(r['steepest'], units.RAMP)}. Its strongest beat "
        f"is {r['frequency']:.2g} Hz, {amount(r['amplitude'], units.POWER)} to either side; "
        f"{r['critical']:.0%} of the swing's energy lies between 0.1 and 20 Hz, where utilities "
        f"set limits."
    )
    if r["ramp"] is not None:
        text += (
            f" The sources follow {amount(r['ramp'], units.RAMP)}; storage of "
            f"{amount(r['absorb_power'], units.POWER)} and "
            f"{amount(r['absorb_energy'], units.ENERGY)} must take the rest."
        )
    dummy = f"for {amount(r['dummy_power'], units.POWER)} on average"
    if r["dummy_power"] < 1e-3 * r["swing"]:
        dummy = "for next to nothing: they hardly fall below that"
    return (
        f"{text} Dummy work that never lets a GPU fall below 80 % of its cap would smooth the "
        f"steps {dummy}."
    )


def tiles(record: Record) -> list[tuple[str, str]]:
    """Key figures for those in a hurry."""
    s = record.summary
    finish = s["finish"]["day"]
    found = [
        (f"{s['gpus']['powered']:,.0f}", "GPUs powered at most"),
        (amount(s["peak_power"], units.POWER), "peak power"),
        (count(s["tokens"]), "tokens trained on"),
        (short_day(finish) if finish else "never", "last token" + _reckoned(s)),
    ]
    if s["ettr"] is not None:
        found.append((f"{s['ettr']:.1%}", "effective training time (ETTR)"))
    found.append((amount(s["energy"], units.ENERGY), "energy"))
    return found


def _reckoned(s: dict[str, Any]) -> str:
    return "" if s["finish"]["reached"] else ", at this pace"


def amount(value: float, dimension: units.Dimension) -> str:
    """A quantity with three digits and its unit."""
    return units.show(value, dimension, 3)


def count(value: float) -> str:
    """A number of tokens with three digits, in trillions where there are a thousand of them."""
    return f"{value / 1e12:,.0f}T" if value >= 999.5e12 else units.show(value, units.COUNT, 3)


def short_day(text: str) -> str:
    """A date with the month's first letters: 25 Dec 2024."""
    found = date.fromisoformat(text)
    return f"{found.day} {found:%b %Y}"


def day(text: str) -> str:
    """A date as people write it: 25 December 2024."""
    found = date.fromisoformat(text)
    return f"{found.day} {found:%B %Y}"
