"""What the command line writes to, where that is closed, full, or knows few letters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "own-cluster.yaml")
COMMAND = f"{sys.executable} -m opencolossus"


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, env=environment, check=False
    )


@pytest.mark.parametrize("words", ["catalog", f"plan {EXAMPLE}", f"plan {EXAMPLE} --json"])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this machine")
def test_a_full_device_is_one_sentence_and_status_2(words: str) -> None:
    done = shell(f"{COMMAND} {words} > /dev/full")
    assert done.returncode == 2
    assert b"cannot be written: No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_closed_streams_swallow_what_they_get() -> None:
    done = shell(f"{COMMAND} catalog >&-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert shell(f"{COMMAND} plan nowhere.yaml >&- 2>&-").returncode == 2


def test_letters_that_the_terminal_lacks_are_question_marks() -> None:
    done = shell(f"{COMMAND} plan {EXAMPLE}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"One step" in done.stdout
    assert b"\xe2" not in done.stdout
