"""What an answer leans on, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FEW = 5


def show_assumptions(
    console: Console, assumptions: Sequence[str], rest: str, whole: bool = False
) -> None:
    """Print the first assumptions, or all; ``rest`` says where the others are."""
    shown = assumptions if whole else assumptions[:FEW]
    console.print(f"[bold]Leans on {len(assumptions)} assumptions[/]", style="dim")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0), style="dim")
    table.add_column(width=1)
    table.add_column()
    for text in shown:
        table.add_row("-", escape(text))
    console.print(table)
    if left := len(assumptions) - len(shown):
        console.print(f"  and {left} more: {rest}", style="dim")
