"""Plans on the terminal and on a page."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from opencolossus.plan.plan import Plan
from opencolossus.plan.search import search
from opencolossus.report import plan_page, plan_table
from opencolossus.specs.load import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "memphis.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    loaded = load(EXAMPLE)
    return search(loaded.description, facts=loaded.facts)


def test_the_answer_comes_first_and_fits_a_terminal(plan: Plan) -> None:
    out = io.StringIO()
    plan_table.show_plan(Console(file=out, width=100), plan)
    lines = out.getvalue().splitlines()
    assert f"{plan.gpus:,} of {plan.available:,} GPUs" in lines[1]
    assert all(len(line) <= 100 for line in lines)
    for words in ("One step", "Memory of one GPU", "What lost, and why", "assumptions"):
        assert any(words in line for line in lines)


def test_the_page_needs_no_network_and_holds_its_figures(plan: Plan) -> None:
    text = plan_page.render(plan)
    assert not re.search(r'<(script|link|img|iframe)[^>]+(src|href)="https?://', text)
    for key in ("step", "memory", "caps", "energy", "inputs"):
        assert f'id="{key}"' in text
    assert plan.model.replace("'", "&#x27;") in text


@pytest.mark.parametrize(
    ("days", "text"),
    [(0.01, "14.4 minutes"), (1.0, "24.0 hours"), (122, "122.0 days"), (3652.5, "10.0 years")],
)
def test_durations_are_said_as_people_say_them(days: float, text: str) -> None:
    assert plan_table.duration(days) == text
