"""The page of a training run, from the log in its folder alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opencolossus.report.page import Figure, Page, Section, Trace, rounded
from opencolossus.specs import run_log
from opencolossus.specs.errors import UserError
from opencolossus.specs.run_log import LOG, Event
from opencolossus.specs.units import COUNT, DURATION, SIZE, show
from opencolossus.version import __version__

POINTS = 400
"""Points per line; more steps are averaged over stretches of equal length."""


def read(run: Path) -> list[Event]:
    """The events of a run; of a step that was taken twice the last.

    Raises:
        UserError: the folder holds no log with a step in it.
    """
    found: dict[tuple[str, int], Event] = {}
    for number, event in enumerate(run_log.events(run)):
        taken = event["event"] in ("step", "evaluation")
        found[(event["event"], event["step"] if taken else number)] = event
    events = list(found.values())
    if not any(event["event"] == "step" for event in events):
        raise UserError(f"{run / LOG} tells of no step yet; look again when the run has taken some")
    return events


def render(run: Path) -> str:
    """The page as HTML.

    Raises:
        UserError: there is nothing to draw, or plotly is not installed.
    """
    events = read(run)
    steps = sorted((e for e in events if e["event"] == "step"), key=lambda e: e["step"])
    last = steps[-1]
    seconds = show(sum(e["seconds"] for e in steps), DURATION, 3)
    drawn = [
        _figure(steps, "tokens_per_second", "Tokens per second", "--c2"),
        _figure(steps, "gradient_norm", "Gradient norm", "--c3", "Before clipping."),
        _figure(steps, "expert_load", "Busiest expert", "--c4", "Its tokens per mean; 1 is even."),
        _figure(steps, "mfu", "Model FLOPs utilisation", "--c5"),
        _figure(steps, "power", "Power of the GPUs, W", "--c7"),
    ]
    return Page(
        title=run.resolve().name,
        subtitle=f"{last['step']:,} steps, {show(last['tokens'], COUNT, 3)} tokens",
        story=_story(events),
        tiles=[
            (_number(last["loss"]), "training loss, nats per token"),
            *_evaluated(events),
            (seconds, "in steps"),
            (f"{last['skipped']}", "steps skipped"),
            *_foretold(events),
        ],
        sections=[
            Section("Learning", "", [_losses(steps, events)]),
            Section("The machine", "", [figure for figure in drawn if figure], pair=True),
        ],
        footer=f"Drawn by colossus {__version__} from log.jsonl of the run.",
    ).render()


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def _evaluated(events: list[Event]) -> list[tuple[str, str]]:
    found = [e["bits_per_byte"] for e in events if e["event"] == "evaluation"]
    return [(f"{found[-1]:.3f}", "bits per byte of held-out text")] if found else []


def _foretold(events: list[Event]) -> list[tuple[str, str]]:
    """What the planner said before the run, and what came."""
    ends = [e for e in events if e["event"] == "end"]
    tiles = []
    for name, unit, what in (("step_time", DURATION, "a step"), ("memory", SIZE, "memory")):
        said, came = (ends[-1].get(key) if ends else None for key in (f"predicted_{name}", name))
        if said and came:
            tiles.append((show(came, unit, 3), f"{what}; {show(said, unit, 3)} predicted"))
    return tiles


def _story(events: list[Event]) -> list[str]:
    """What happened beside plain steps."""
    again = [f"{e['step']:,}" for e in events if e["event"] == "start" and e["step"]]
    said = [f"Resumed at step {', '.join(again)}."] if again else []
    for event in events:
        if event["event"] == "rollback":
            said.append(f"At step {event['step']:,} back to the weights of step {event['to']:,}.")
    return said


def _losses(steps: list[Event], events: list[Event]) -> Figure:
    traces: list[Trace] = [_line(steps, "loss", "--c1") | {"name": "training, nats per token"}]
    held = [e for e in events if e["event"] == "evaluation"]
    by_step = {e["step"]: e["tokens"] for e in steps}
    held = [e for e in held if e["step"] in by_step]
    if len(held) > 1:
        traces.append(
            {
                "x": [by_step[e["step"]] for e in held],
                "y": rounded([e["bits_per_byte"] for e in held]),
                "name": "held out, bits per byte",
                "mode": "lines+markers",
                "line": {"color": "--c3", "width": 1.5},
                "yaxis": "y2",
            }
        )
    right = {"overlaying": "y", "side": "right", "showgrid": False, "tickformat": ".2f"}
    layout = {"xaxis": {"title": {"text": "tokens"}}, "yaxis2": right}
    note = "Nats per token" + ", bits per byte of held-out text right" * (len(held) > 1) + "."
    return Figure("loss", "Loss.", traces, layout, note=note, height=320)


def _figure(
    steps: list[Event], name: str, title: str, colour: str, note: str = ""
) -> Figure | None:
    """A figure of one column; None where nobody measured it."""
    if not any(isinstance(step.get(name), int | float) for step in steps):
        return None
    layout = {"xaxis": {"title": {"text": "tokens"}}, "yaxis": {"rangemode": "tozero"}}
    return Figure(name, f"{title}.", [_line(steps, name, colour)], layout, note=note)


def _line(steps: list[Event], name: str, colour: str) -> Trace:
    """A column against tokens; steps whose figure is not a number are left out."""
    pairs = [(e["tokens"], e[name]) for e in steps if isinstance(e.get(name), int | float)]
    tokens, values = np.array(pairs, np.float64).reshape(-1, 2).T
    each = max(1, -(-len(tokens) // POINTS))
    return {
        "x": rounded(_means(tokens, each), 6),
        "y": rounded(_means(values, each)),
        "mode": "lines",
        "line": {"color": colour, "width": 1.5},
    }


def _means(values: NDArray[np.float64], each: int) -> list[float]:
    """Means over stretches of ``each``; the last may be shorter."""
    return [float(values[i : i + each].mean()) for i in range(0, len(values), each)]
