"""What the shell offers where a name of the catalog is due."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from opencolossus.specs import catalog


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("catalog ", catalog.kinds()),
        ("catalog gpus h100", ["h100-sxm", "h100-pcie"]),
        ("catalog nothing ", []),
        ("plan spec.yaml --launch me", ["megatron"]),
        ("plan spec.yaml --software ", catalog.names("software")),
    ],
)
def test_names_are_completed(words: str, offered: list[str]) -> None:
    typed = f"colossus {words}"
    asked = {
        "_COLOSSUS_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    code = "from opencolossus.cli import app; app(prog_name='colossus')"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.stdout.split() == offered, out.stderr
