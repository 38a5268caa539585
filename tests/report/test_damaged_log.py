"""A log of a run in which any one bit is wrong is told as far as it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opencolossus.report.training_page import render
from opencolossus.specs import run_log
from opencolossus.specs.errors import UserError
from opencolossus.specs.run_log import LOG

WHOLE = [
    {"event": "start", "step": 2, "processes": 1, "facts": {"fp32": 1.0, "bf16": 2.0}},
    {"event": "step", "step": 3, "tokens": 96, "loss": 4.5, "seconds": 0.5, "skipped": 0},
    {"event": "evaluation", "step": 3, "bits_per_byte": 1.5},
    {"event": "rollback", "step": 3, "to": 2},
    {"event": "step", "step": 4, "tokens": 128, "loss": "nan", "seconds": 0.5, "skipped": 1},
    {"event": "end", "step_time": 0.5, "predicted_step_time": 0.5},
]
TEXT = "".join(json.dumps(event) + "\n" for event in WHOLE).encode()


def test_a_wrong_bit_costs_the_lines_that_it_is_in_and_no_other(tmp_path: Path) -> None:
    for bit in range(8 * len(TEXT)):
        found = bytearray(TEXT)
        found[bit // 8] ^= 1 << bit % 8
        (tmp_path / LOG).write_bytes(found)
        told = [event for event in run_log.events(tmp_path) if event in WHOLE]
        assert len(told) >= len(WHOLE) - 2, f"bit {bit}: a lost line break joins two lines"


def test_no_page_fails_of_a_wrong_bit(tmp_path: Path) -> None:
    for bit in range(0, 8 * len(TEXT), 5):  # 5 and 8 share no divisor: every bit of a byte
        found = bytearray(TEXT)
        found[bit // 8] ^= 1 << bit % 8
        (tmp_path / LOG).write_bytes(found)
        assert "training loss" in render(tmp_path), f"bit {bit}"


@pytest.mark.parametrize("line", ["[]", "3", '"step"', "null", '{"event": 3}', '{"event": "step"}'])
def test_what_is_no_event_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / LOG).write_text(line + "\n")
    assert run_log.events(tmp_path) == []
    with pytest.raises(UserError, match="tells of no step yet"):
        render(tmp_path)
