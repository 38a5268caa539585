"""Play every scenario of ``examples/`` and write its page in ``docs/scenarios/``.

    python benchmarks/scenarios.py [NAME ...]

A page holds the question (the head of the example), the description, and what the twin answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

from opencolossus.report.simulation_sketch import sketch
from opencolossus.report.simulation_story import LOSSES, story
from opencolossus.specs.load import load
from opencolossus.twin.record import Record
from opencolossus.twin.runs import many
from opencolossus.twin.simulate import simulate

ROOT = Path(__file__).parent.parent
SCENARIOS = (
    "july",
    "race",
    "christmas",
    "doubling",
    "million",
    "heat-wave",
    "order",
    "permit",
    "storm",
    "outage",
)
RUNS = {"christmas": 100}
"""Scenarios whose question is about luck."""
MOST_EVENTS = 16


def page(name: str) -> tuple[str, str]:
    """The page of one scenario, and its picture."""
    text = (ROOT / "examples" / f"{name}.yaml").read_text(encoding="utf-8")
    title, question, body = split(text)
    description = load(ROOT / "examples" / f"{name}.yaml").description
    command = f"colossus simulate examples/{name}.yaml --open"
    if name in RUNS:
        command += f" --runs {RUNS[name]}"
        record = many(description, RUNS[name])
    else:
        record = simulate(description)
    lines = [
        f"# {title}",
        "",
        question,
        "",
        f"```sh\n{command}\n```",
        "",
        "## The description",
        "",
        f"```yaml\n{body}```",
        "",
        "## The answer",
        "",
        f"![Power by source, and tokens]({name}.svg)",
        "",
        *(f"{sentence}\n" for sentence in story(record)),
        losses(record),
        "",
        events(record),
        "",
        "This page is written by `python benchmarks/scenarios.py`; constants that nobody "
        "published stand at the end of the command's output.",
        "",
    ]
    return "\n".join(lines), sketch(record)


def split(text: str) -> tuple[str, str, str]:
    """Title and question from the comment at the head, and the rest."""
    lines = text.splitlines(keepends=True)
    head = [line[1:].strip() for line in lines if line.startswith("#")][: _head(lines)]
    body = "".join(lines[_head(lines) :])
    return head[0], "\n".join(head[2:]), body


def _head(lines: list[str]) -> int:
    return next(i for i, line in enumerate(lines) if not line.startswith("#"))


def losses(record: Record) -> str:
    """Where the time of the job went, as a table."""
    loss = sorted(record.summary["loss"].items(), key=lambda item: -item[1])
    rows = [f"| {LOSSES[name]} | {share:.2%} |" for name, share in loss if share >= 5e-5]
    total = f"| **what counts** | **{record.summary['goodput']:.2%}** |"
    return "\n".join(["| where the time went | share |", "|---|---:|", *rows, total])


def events(record: Record) -> str:
    """The diary of the site, without the trips of single generators."""
    told = [event for event in record.events if event.kind != "trip"]
    shown = told[:MOST_EVENTS]
    moments = [str(e.time.astype("datetime64[m]")).replace("T", " ") for e in shown]
    rows = [f"| {m} | {e.kind} | {e.text} |" for m, e in zip(moments, shown, strict=True)]
    left = len(told) - len(shown)
    trips = len(record.events) - len(told)
    more = f"and {left} more" if left else "and" if trips else ""
    if trips:
        more += f"{',' if left else ''} {trips} trips of single generators"
    return "\n".join(
        ["| when | | what |", "|---|---|---|", *rows, *([f"| | | {more} |"] if more else [])]
    )


def main() -> None:
    """Write all pages, or those that are named."""
    folder = ROOT / "docs" / "scenarios"
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or SCENARIOS:
        text, picture = page(name)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
        print(folder / f"{name}.md")


if __name__ == "__main__":
    main()
