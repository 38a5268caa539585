"""The page of a training run says what its log says."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from opencolossus.report.training_page import POINTS, read, render
from opencolossus.specs.errors import UserError


def log(folder: Path, *events: dict[str, object], torn: str = "") -> Path:
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "log.jsonl").write_text(text + torn)
    return folder


def step(number: int, **changed: object) -> dict[str, object]:
    figures = {"tokens": 100 * number, "loss": 8.0 - 0.001 * number, "seconds": 0.5, "skipped": 0}
    return {
        "event": "step",
        "step": number,
        "tokens_per_second": 200.0,
        "gradient_norm": 1.0,
        "expert_load": None,
        "mfu": None,
        **figures,
        **changed,
    }


def figures(page: str) -> dict[str, list[dict[str, list[float]]]]:
    found = re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    return {figure["key"]: figure["data"] for figure in json.loads(found.group(1))}


def test_the_curve_is_that_of_the_log_however_long_it_is(tmp_path) -> None:
    count = 10 * POINTS
    held = [{"event": "evaluation", "step": n, "bits_per_byte": 87.5 / n} for n in (50, 70)]
    drawn = figures(render(log(tmp_path, *map(step, range(1, count + 1)), *held)))
    training, held_out = drawn["loss"]
    assert len(training["y"]) == POINTS
    assert sum(training["y"]) / POINTS == pytest.approx(8.0 - 0.001 * (count + 1) / 2, rel=1e-3)
    assert (held_out["x"], held_out["y"]) == ([5000, 7000], [1.75, 1.25])
    assert set(drawn) == {"loss", "tokens_per_second", "gradient_norm"}, "no figure of nothing"


def test_a_run_that_was_killed_and_resumed_is_told_as_it_went_the_last_time(tmp_path) -> None:
    first = [{"event": "start", "step": 0}, step(1), step(2), step(3, loss="nan")]
    then = [{"event": "start", "step": 2}, step(3, loss=4.0)]
    run = log(tmp_path, *first, *then, torn='{"event": "st')
    assert [e["loss"] for e in read(run) if e["event"] == "step"] == [7.999, 7.998, 4.0]
    assert "Resumed at step 2." in render(run)


def test_steps_without_a_number_are_left_out(tmp_path) -> None:
    run = log(tmp_path, step(1), step(2, loss="nan", gradient_norm="inf"), step(3))
    (training,) = figures(render(run))["loss"]
    assert training["x"] == [100, 300]
    assert all(map(math.isfinite, training["y"]))


@pytest.mark.parametrize("text", [None, "", '{"event": "start", "step": 0}\n'])
def test_nothing_to_draw_is_one_sentence(tmp_path, text) -> None:
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"cannot be read|tells of no step"):
        render(tmp_path)


def test_what_was_predicted_stands_beside_what_was_measured(tmp_path) -> None:
    measured = {"step_time": 0.2, "memory": 3e9, "predicted_memory": None}
    end = {"event": "end", "finished": True, "predicted_step_time": 0.25, **measured}
    page = render(log(tmp_path, step(1), step(2), end))
    assert "200 ms</b><span>a step; 250 ms predicted<" in page
    assert "memory;" not in page
    assert " predicted<" not in render(log(tmp_path, step(1), step(2)))
