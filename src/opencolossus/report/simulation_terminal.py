"""A simulation in the terminal: the story, where the time went, what it leans on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencolossus.report.simulation_story import LOSSES, day, rhythm_text, story
from opencolossus.twin.record import Record

if TYPE_CHECKING:
    from rich.console import Console


def show(console: Console, record: Record) -> None:
    """Print the story and where the time went."""
    from rich.markup import escape
    from rich.table import Table

    from opencolossus.report.leans import show_assumptions

    s = record.summary
    console.print(f"[bold]{escape(record.name)}[/bold]  {day(s['start'])} to {day(s['end'])}\n")
    for number, sentence in enumerate(story(record)):
        console.print(escape(sentence), style="bold" if number == 1 else None)  # by when
    for sentence in s["ignored"]:
        console.print(f"[yellow]Note:[/yellow] {escape(sentence)}.")
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
    console.print("ETTR leaves out servers in repair, caps, heat and changes of plan.", style="dim")
    console.print(f"\n{escape(rhythm_text(record))}")
    for name, price in s["permit_usd_per_kg"].items():
        if price < 0.005:
            continue
        console.print(f"One more kg in the permit of {name} would save ${price:,.2f}.")
    console.print()
    show_assumptions(console, record.assumptions, "the page and summary.json list them")
