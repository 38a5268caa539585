"""What docs/python.md shows runs as it stands, and says what the command says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import opencolossus

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_runs(number: int) -> None:
    out = python("-c", BLOCKS[number])
    assert out.returncode == 0, out.stderr
    assert out.stdout


def test_a_plan_from_python_is_the_plan_of_the_command() -> None:
    spec = str(ROOT / "examples" / "own-cluster.yaml")
    command = python("-m", "opencolossus", "plan", spec, "--json")
    loaded = opencolossus.load(spec)
    plan = opencolossus.search(loaded.description, facts=loaded.facts)
    assert json.loads(plan.model_dump_json()) == json.loads(command.stdout)


def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'plam'"):
        opencolossus.plam  # noqa: B018
    assert {name for name in dir(opencolossus) if not hasattr(opencolossus, name)} == set()
