"""An entry of the catalog is shown whole and with its sources, also on a narrow terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from opencolossus.report.catalog_table import show
from opencolossus.specs import catalog


def printed(kind: str, name: str, width: int = 80) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width), kind, name)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["gpus", "nodes", "models", "clusters", "coolings"])
def test_every_number_stands_with_its_grade_and_source(kind: str) -> None:
    for name in catalog.names(kind):
        lines = printed(kind, name, width=400).splitlines()
        for path, fact in catalog.facts(kind, name).items():
            field = path.rpartition(".")[2]
            source = fact.source.key if fact.source else ""
            wanted = (field, str(fact.value), str(fact.evidence), source, fact.note)
            assert any(all(word in line for word in wanted) for line in lines), path


@pytest.mark.parametrize("kind", ["gpus", "nodes", "models", "sites", "clusters"])
def test_names_and_values_are_not_broken_at_80_columns(kind: str) -> None:
    for name in catalog.names(kind):
        text = printed(kind, name)
        assert max(map(len, text.splitlines())) <= 80
        for path, fact in catalog.facts(kind, name).items():
            if path.startswith("climate."):
                continue
            field = path.rpartition(".")[2]
            assert any(field in x and str(fact.value) in x for x in text.splitlines()), path


def test_the_weather_of_a_site_is_an_entry_of_its_own() -> None:
    text = printed("sites", "colocation")
    assert "see 'colossus catalog climates'" in text
    assert "dry_bulb" not in text
    assert "memphis-winter" not in text, "nor the sources that nothing shown cites"
    assert "dry_bulb" in printed("climates", "memphis")
