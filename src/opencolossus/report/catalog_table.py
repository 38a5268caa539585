"""The catalog as tables: kinds, the entries of a kind, one entry with its sources."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencolossus.specs import catalog
from opencolossus.specs.evidence import Fact

_STYLE = {
    "measured": "green",
    "vendor": "cyan",
    "press": "yellow",
    "derived": "blue",
    "assumed": "red",
}


def show(console: Console, kind: str | None, name: str | None) -> None:
    """Print the kinds, the entries of ``kind``, or the facts of the entry ``name``."""
    if kind is None:
        _kinds(console)
    elif name is None:
        _entries(console, kind)
    else:
        _entry(console, kind, name)


def as_json(kind: str | None, name: str | None) -> str:
    """The same as JSON: names, or the spec in SI units with its facts."""
    if kind is None:
        return json.dumps({k: catalog.names(k) for k in catalog.kinds()}, indent=2)
    if name is None:
        return json.dumps(catalog.names(kind), indent=2)
    spec = catalog.entry(kind, name).model_dump(mode="json")
    facts = {path: _fact(fact) for path, fact in catalog.facts(kind, name).items()}
    return json.dumps({"spec": spec, "facts": facts}, indent=2, ensure_ascii=False)


def _fact(fact: Fact) -> dict[str, Any]:
    source = fact.source
    about = {"title": source.title, "date": source.date, "url": source.url} if source else None
    return {"value": fact.value, "evidence": str(fact.evidence), "source": about, "note": fact.note}


def _kinds(console: Console) -> None:
    table = Table(title="Catalog", title_justify="left", box=None, pad_edge=False)
    table.add_column("kind", style="bold")
    table.add_column("entries")
    for kind in catalog.kinds():
        table.add_row(kind, ", ".join(catalog.names(kind)))
    console.print(table)
    console.print(
        "\n[dim]colossus catalog KIND lists a kind; colossus catalog KIND NAME one entry.[/]"
    )


def _entries(console: Console, kind: str) -> None:
    table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is")
    for name in catalog.names(kind):
        table.add_row(name, escape(str(catalog.entry(kind, name).name)))
    console.print(table)


def _entry(console: Console, kind: str, name: str) -> None:
    spec, facts = catalog.entry(kind, name), catalog.facts(kind, name)
    if kind == "sites":  # its weather, three numbers a month, is an entry of its own
        facts = {path: fact for path, fact in facts.items() if not path.startswith("climate.")}
    table = Table(title=escape(spec.name), title_justify="left", box=None, pad_edge=False)
    for column in ("field", "value", "evidence"):
        table.add_column(column, no_wrap=True, overflow="fold")
    table.add_column("source: note", overflow="fold")
    cited: dict[str, Any] = {}
    part = ""
    for path, fact in facts.items():
        above, _, field = path.rpartition(".")
        if above != part:
            table.add_row(f"[bold]{above}[/]")
            part = above
        told = [fact.source.key] if fact.source else []
        if fact.source:
            cited[fact.source.key] = fact.source
        grade = f"[{_STYLE[fact.evidence]}]{fact.evidence}[/]"
        about = escape(": ".join([*told, fact.note] if fact.note else told))
        table.add_row("  " * bool(above) + field, escape(str(fact.value)), grade, about)
    console.print(table)
    _more(console, kind, spec)
    for key, source in cited.items():
        parts = (source.title, source.publisher, source.date, source.url)
        console.print(f"[bold]{key}[/]  {escape(', '.join(part for part in parts if part))}")


def _more(console: Console, kind: str, spec: Any) -> None:
    """What follows from the entry."""
    if kind == "sites":
        console.print(f"climate: {escape(spec.climate.name)}, see 'colossus catalog climates'")
    if kind == "models":
        total, active = spec.parameters / 1e9, spec.active_parameters / 1e9
        console.print(f"\nparameters {total:.4g} B, active {active:.4g} B [blue]derived[/]")
    console.print()
