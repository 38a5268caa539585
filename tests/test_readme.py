"""Every command that the README shows works as it is written there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"^\$? ?(colossus .*?)(?:\s+#.*)?$")


def shown(page: Path) -> list[str]:
    """Commands in the ``sh`` blocks of a page, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [found.group(1) for line in lines if (found := COMMAND.match(line.strip()))]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a clone has, and nothing of earlier runs."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.mark.timeout(900)
def test_every_command_of_the_readme_runs_as_written_but_for_how_long_it_trains(
    newcomer: Path,
) -> None:
    commands = [line.replace('="1 min"', '="10 s"') for line in shown(ROOT / "README.md")]
    verbs = {command.split()[1] for command in commands}
    assert {"plan", "simulate", "train", "chat", "catalog", "schema"} <= verbs
    for command in commands:
        if command.startswith("colossus serve"):
            continue  # does not end by itself; tests/serve drives it
        out = run(command, newcomer)
        assert out.returncode == 0, f"{command}\n{out.stdout}\n{out.stderr}"
        assert "Traceback" not in out.stderr, command
