"""The constants of a machine from one's own runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opencolossus.plan import logged
from opencolossus.plan.facts import Facts
from opencolossus.plan.own_run import from_runs
from opencolossus.specs import calibration, catalog
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout, Run
from opencolossus.specs.software import Calibration

ALONE = Facts(fp32=2e11, bf16=4e11, copied=8e10)
TOGETHER = Facts(fp32=1e11, bf16=2e11, copied=4e10, sent=1e9, start=1e-4)


def write(folder: Path, seconds: list[float], **began: Any) -> Path:
    """A run of the demo's network, as the trainer logs it."""
    folder.mkdir(exist_ok=True)
    run = Run(tokens=1e6, batch=began.pop("batch", 4096), sequence=256)
    model = catalog.entry("models", "grok-tiny")
    description = Description(name="test", model=model, run=run)
    (folder / "description.json").write_text(description.model_dump_json())
    start = {
        "event": "start",
        "step": 0,
        "processes": 1,
        "precision": "bf16",
        "compiled": "functions",
        "layout": Layout(micro_batch=16).model_dump(),
        "cpu": "CPU of a test",
        "facts": asdict(ALONE),
    }
    figures = {"tokens": 4096, "loss": 5.0, "skipped": 0}
    steps = enumerate(seconds, 1)
    lines = [
        start | began,
        *({"event": "step", "step": n, "seconds": s, **figures} for n, s in steps),
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "log.jsonl").write_text(text + '\n{"event": "st')  # torn last line
    return folder


def taken(folder: Path, truth: Calibration, **began: Any) -> Path:
    """A run that took what the law says with other constants."""
    run = logged.read(write(folder, [1.0] * 9, **began))
    seconds = float(np.exp(run.error(truth)))
    return write(folder, [9.0, 5.0, 4.0, 3.0, 3.0] + [seconds] * 5, **began)


def changed(base: Calibration, era: str, **values: float) -> Calibration:
    eras = {**base.eras, era: base.eras[era].model_copy(update=values)}
    return base.model_copy(update={"eras": eras})


def test_a_run_is_predicted_after_it_was_fitted(tmp_path: Path) -> None:
    base = calibration.shipped()
    folder = taken(tmp_path / "run", base)
    slow = logged.read(folder).seconds * 1.4
    write(folder, [slow] * 9)
    found = from_runs(base, [folder])
    assert abs(logged.read(folder).error(base)) > 0.3
    assert abs(logged.read(folder).error(found)) < 0.1
    assert found.gpus["cpu"].matrix16 < base.gpus["cpu"].matrix16
    assert found.gpus["hopper"] == base.gpus["hopper"]
    assert found.eras["torch-cpu-eager"] == base.eras["torch-cpu-eager"]
    assert found.own_runs == base.own_runs, "one run tells no interval"


def test_a_mode_is_fitted_by_its_own_runs(tmp_path: Path) -> None:
    base = calibration.shipped()
    era = base.eras["torch-cpu-eager"]
    truth = changed(base, "torch-cpu-eager", elementwise=2 * era.elementwise)
    folders = [
        taken(tmp_path / "compiled", truth),
        taken(tmp_path / "eager", truth, compiled="none"),
        taken(
            tmp_path / "larger",
            truth,
            compiled="none",
            batch=16384,
            layout=Layout(micro_batch=64).model_dump(),
        ),
    ]
    found = from_runs(base, folders)
    assert all(abs(logged.read(folder).error(found)) < 0.03 for folder in folders)
    assert found.eras["torch-cpu-eager"].elementwise > 1.2 * era.elementwise
    assert found.gpus["cpu"].matrix16 == pytest.approx(base.gpus["cpu"].matrix16, rel=0.05)


def test_many_runs_tell_an_interval(tmp_path: Path) -> None:
    base, folders = calibration.shipped(), []
    dice = np.random.default_rng(0)
    for number in range(20):
        several: dict[str, Any] = {"processes": 2, "facts": asdict(TOGETHER)}
        began = several if number % 2 else {}
        size = 4096 * (1 + number % 3)
        folder = taken(tmp_path / str(number), base, **began, batch=size)
        seconds = logged.read(folder).seconds * float(np.exp(0.1 * dice.normal()))
        folders.append(write(folder, [seconds] * 9, **began, batch=size))
    *others, own = from_runs(base, folders).own_runs
    assert tuple(others) == base.own_runs, "what other processors told stays"
    assert (own.runs, own.cpu) == (20, "CPU of a test")
    assert 1.05 < own.alone < 1.5
    assert 1.05 < own.several < 1.5


@pytest.mark.parametrize(
    ("seconds", "began", "words"),
    [
        ([1.0] * 3, {}, "too few"),
        ([99.0] * 9, {}, "shared"),
        ([1.0] * 9, {"event": "step"}, "does not say"),
    ],
)
def test_runs_that_tell_nothing_are_refused(
    tmp_path: Path, seconds: list[float], began: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        from_runs(calibration.shipped(), [write(tmp_path, seconds, **began)])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        from_runs(calibration.shipped(), [tmp_path / "nothing"])
