"""``colossus plan`` as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "memphis.yaml")


def colossus(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from opencolossus.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_json_is_a_plan() -> None:
    done = colossus("plan", EXAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["gpus"] > 20_000
    assert plan["version"] == 3


def test_the_schema_of_a_plan_fits_the_plan() -> None:
    schema = json.loads(colossus("schema", "--plan").stdout)
    plan = json.loads(colossus("plan", EXAMPLE, "--json").stdout)
    assert set(plan) == set(schema["properties"])
    assert set(plan["power"]) == set(schema["$defs"]["Power"]["properties"])
    assert schema["properties"]["version"]["default"] == plan["version"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--day", "tomorrow"], "not a date"),
        (["--power", "43"], "no unit"),
        (["--power", "-3 MW"], "above 0"),
        (["--schedules", "zb-h3"], "did you mean 'zb-h"),
        (["--software", "nemo-2042"], "nemo-202"),
        (["--calibration", "missing.json"], "cannot be read"),
        (["--day", "2020-01-01"], "no GPU is there"),
        (["--power", "2 kW"], "do not carry one server"),
    ],
)
def test_mistakes_end_in_one_sentence(words: list[str], said: str) -> None:
    done = colossus("plan", EXAMPLE, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_planning_never_imports_torch_or_scipy() -> None:
    code = (
        "import sys; from opencolossus.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'scipy', 'plotly', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", EXAMPLE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
