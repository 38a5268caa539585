"""A machine's speed from one's own run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opencolossus.plan.own_run import from_run
from opencolossus.specs import calibration
from opencolossus.specs.errors import UserError


def write(folder: Path, seconds: list[float], predicted: float | None) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [{"event": "step", "seconds": s} for s in seconds]
    end: dict[str, object] = {"event": "end"}
    if predicted is not None:
        end["predicted_step_time"] = predicted
    text = "\n".join(json.dumps(line) for line in [*lines, end])
    (folder / "log.jsonl").write_text(text + '\n{"event": "st')  # torn last line
    return folder


def test_a_run_that_took_twice_as_long_halves_the_speed(tmp_path: Path) -> None:
    base = calibration.shipped()
    run = write(tmp_path, [9.0, 5.0, 2.0, 2.0, 2.1, 1.9], 1.0)
    found = from_run(base, run)
    assert found.gpus["cpu"].matrix16 == pytest.approx(base.gpus["cpu"].matrix16 / 2)
    assert found.gpus["hopper"] == base.gpus["hopper"]
    assert found.eras == base.eras


@pytest.mark.parametrize(
    ("seconds", "predicted", "words"),
    [
        ([1.0] * 3, 1.0, "too few"),
        ([1.0] * 9, None, "no predicted"),
        ([99.0] * 9, 1.0, "shared"),
    ],
)
def test_runs_that_tell_nothing_are_refused(
    tmp_path: Path, seconds: list[float], predicted: float | None, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        from_run(calibration.shipped(), write(tmp_path, seconds, predicted))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        from_run(calibration.shipped(), tmp_path / "nothing")
