"""A simulation in the terminal: the story, where the time went, what it leans on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencolossus.report.simulation_story import LOSSES, day, rhythm_text, story
from opencolossus.twin.record import Record

if TYPE_CHECKING:
    from rich.console import Console

MOST_ASSUMPTIONS = 5


def show(console: Console, record: Record) -> None:
    """Print the story and where the time went."""
    from rich.markup import escape
    from rich.table import Table

    s = record.summary
    console.print(f"[bold]{record.name}[/bold]  {day(s['start'])} to {day(s['end'])}\n")
    for sentence in story(record):
        console.print("  " + sentence)
    for sentence in s["ignored"]:
        console.print(f"  [yellow]Note:[/yellow] {escape(sentence)}.")
    if s["ettr"] is None:
        return
    table = Table(title="Where the time went", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("share", justify="right")
    for name, share in sorted(s["loss"].items(), key=lambda item: -item[1]):
        if share >= 5e-5:
            table.add_row(LOSSES[name], f"{share:.2%}")
    table.add_row("[bold]what counts[/bold]", f"[bold]{s['goodput']:.2%}[/bold]")
    console.print()
    console.print(table)
    console.print(f"\n{rhythm_text(record)}")
    for name, price in s["permit_usd_per_kg"].items():
        if price < 0.005:
            continue
        console.print(f"One more kg in the permit of {name} would save ${price:,.2f}.")
    _show_assumptions(console, record)


def _show_assumptions(console: Console, record: Record) -> None:
    shown = record.assumptions[:MOST_ASSUMPTIONS]
    console.print(f"\nLeans on {len(record.assumptions)} assumptions")
    for text in shown:
        console.print(f"  - {text}")
    left = len(record.assumptions) - len(shown)
    if left:
        console.print(f"  and {left} more: the page and summary.json list them")
