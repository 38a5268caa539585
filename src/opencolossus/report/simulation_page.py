"""The page of a simulation."""

from __future__ import annotations

from opencolossus.report import simulation_account as accounts
from opencolossus.report import simulation_figures as figures
from opencolossus.report import simulation_halls as halls
from opencolossus.report import simulation_upkeep as upkeep
from opencolossus.report.page import Page, Section, escape
from opencolossus.report.simulation_minutes import minutes
from opencolossus.report.simulation_story import day, rhythm_text, story, tiles
from opencolossus.twin.record import Record
from opencolossus.version import __version__

MINUTES_NOTE = (
    "Generators need time to start and to climb. Until they have followed, batteries carry the "
    "difference, or caps go down, or servers off."
)

MINOR = ' class="minor"'
"""Events that are shown when they are asked for."""


def render(record: Record) -> str:
    """The page as HTML, from the record alone.

    Raises:
        UserError: plotly is not installed.
    """
    s = record.summary
    return Page(
        title=record.name,
        subtitle=f"{s['site']['name']}, {day(s['start'])} to {day(s['end'])}",
        story=story(record),
        tiles=tiles(record),
        sections=_sections(record),
        footer=f"Drawn by colossus {__version__} from the record of one simulation, "
        f"seed {s['seed']}. Hours are local time.",
    ).render()


def _sections(record: Record) -> list[Section]:
    sections = [
        Section(
            "Through time",
            "Drag across a plot to zoom into all of them; double-click to zoom out.",
            [figures.supply(record), figures.gpus(record), figures.tokens(record)],
        ),
        Section("What happened", "Choose an event to mark its moment above.", (), _events(record)),
        Section("Where the time went", "", [accounts.waterfall(record)]),
        Section(
            "Heat and water",
            "",
            [upkeep.temperatures(record), upkeep.effectiveness(record)],
            pair=True,
        ),
        Section("Air and money", "", [upkeep.emissions(record), upkeep.dollars(record)], pair=True),
    ]
    around = minutes(record)
    if around is not None:
        sections.insert(2, Section("Minute by minute", MINUTES_NOTE, [around]))
    beat = accounts.rhythm(record)
    if beat is not None:
        sections.append(Section("The rhythm of a step", rhythm_text(record), [beat]))
    plan = halls.plan(record)
    if plan is not None:
        place = next(i for i, s in enumerate(sections) if s.title == "Where the time went") + 1
        sections.insert(place, Section("The halls", halls.note(record), (), halls.body(plan)))
    if record.assumptions:
        sections.append(Section(body=_assumptions(record)))
    return sections


def _events(record: Record) -> str:
    rows = "".join(
        f"<li{MINOR if event.kind == 'trip' else ''}>"
        f'<button type="button" data-time="{event.time}" aria-pressed="false">'
        f"<time>{str(event.time.astype('datetime64[m]')).replace('T', ' ')}</time>"
        f'<span class="kind">{escape(event.kind)}</span><span>{escape(event.text)}</span>'
        "</button></li>"
        for event in record.events
    )
    notes = "".join(f'<p class="note">{escape(text)}.</p>' for text in record.summary["ignored"])
    trips = sum(event.kind == "trip" for event in record.events)
    words = f"{trips} trips of generators" if trips > 1 else "1 trip of a generator"
    more = f'<button type="button" id="trips" aria-pressed="false">{words}</button>'
    return f'<div class="card"><ul class="events">{rows}</ul>{more if trips else ""}</div>{notes}'


def _assumptions(record: Record) -> str:
    rows = "".join(f"<li>{escape(text)}</li>" for text in record.assumptions)
    heading = f"What this leans on that nobody published ({len(record.assumptions)})"
    return f"<details><summary>{heading}</summary><ul>{rows}</ul></details>"
