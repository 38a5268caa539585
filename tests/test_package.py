"""The package as a whole: light to import, one version, floors that hold."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import opencolossus

HEAVY = ("torch", "scipy", "plotly", "pyarrow", "transformers", "fastapi", "sqlalchemy")


def _imported(code: str) -> set[str]:
    report = f"{code}\nimport sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in out.stdout.split()}


def test_importing_the_package_brings_nothing_heavy() -> None:
    assert not _imported("import opencolossus") & {*HEAVY, "numpy", "pydantic"}


def test_importing_the_command_line_brings_nothing_heavy() -> None:
    assert not _imported("import opencolossus.cli") & set(HEAVY)


def test_reading_a_description_brings_nothing_heavy() -> None:
    assert not _imported("import opencolossus.specs.load") & set(HEAVY)


def test_the_version_is_told_once() -> None:
    assert metadata.version("opencolossus") == opencolossus.__version__


def test_an_unknown_verb_is_one_sentence_and_status_2() -> None:
    command = [sys.executable, "-m", "opencolossus", "plann"]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 2
    assert "plann" in out.stderr
    assert "Traceback" not in out.stderr
