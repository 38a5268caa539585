"""What a run says about itself, to programs and to people."""

from __future__ import annotations

import io
import json
import math
import socket
import sys
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import pytest

from opencolossus.specs.errors import UserError
from opencolossus.train import console
from opencolossus.train.console import Lines, eta
from opencolossus.train.gauges import Gauges
from opencolossus.train.log import Log
from opencolossus.train.telemetry import StepRecord

RECORD = StepRecord(
    step=3,
    tokens=300,
    loss=2.5,
    gradient_norm=0.5,
    learning_rate=1.0,
    seconds=0.1,
    tokens_per_second=1000.0,
    mfu=0.4,
    expert_load=1.2,
    epoch=0,
    row=48,
    skipped=0,
    memory=10**9,
)


def test_every_line_is_strict_json_even_where_the_loss_is_not_a_number(tmp_path):
    log = Log(tmp_path)
    log.step(replace(RECORD, loss=math.nan, gradient_norm=math.inf))
    log.close()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    event = json.loads(line, parse_constant=refuse)
    assert (event["loss"], event["gradient_norm"]) == ("nan", "inf")


def test_a_line_torn_by_a_kill_does_not_spoil_the_next(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"event": "step"}\n{"event": "st')
    log = Log(tmp_path)
    log.event("start", {"step": 1})
    log.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "start"
    assert len(lines) == 3


def test_metrics_are_served(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gauges = Gauges(tmp_path, port)
    gauges.step(RECORD)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert "colossus_train_tokens_per_second 1000.0" in text
    with pytest.raises(UserError, match=f"--metrics-port {port}"):
        Gauges(tmp_path, port)


def test_power_is_energy_by_time_and_by_tokens(tmp_path):
    record = replace(RECORD, joules=50.0)
    assert (record.power, record.joules_per_token) == pytest.approx((500.0, 0.5))
    gauges, log = Gauges(tmp_path, None), Log(tmp_path)
    for sink in (gauges, log):
        sink.step(record)
        sink.close()
    assert "colossus_train_power 500.0" in (tmp_path / "metrics.prom").read_text()
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["joules_per_token"] == pytest.approx(0.5)


def test_what_nobody_measured_has_no_gauge(tmp_path):
    gauges = Gauges(tmp_path, None)
    gauges.step(replace(RECORD, mfu=None, expert_load=None))
    gauges.close()
    text = (tmp_path / "metrics.prom").read_text()
    assert "colossus_train_loss 2.5" in text
    assert not any(name in text for name in ("_mfu", "_power", "_expert_load"))


def test_tensorboard_reads_what_was_drawn_and_hides_what_a_resumed_run_did_again(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from opencolossus.train.board import Board

    first = Board(tmp_path, 0)
    for step in range(1, 8):
        first.step(replace(RECORD, step=step, loss=9.0 - step))
    first.close()
    resumed = Board(tmp_path, 5)
    resumed.step(replace(RECORD, step=6, loss=1.0))
    resumed.event("evaluation", {"step": 6, "bits_per_byte": 1.5})
    resumed.close()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = {event.step: event.value for event in found.Scalars("loss/loss")}
    assert curve == {1: 8.0, 2: 7.0, 3: 6.0, 4: 5.0, 5: 4.0, 6: 1.0}
    assert [event.value for event in found.Scalars("held-out/bits_per_byte")] == [1.5]
    assert "machine/power" not in found.Tags()["scalars"]


def test_tensorboard_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch):
    from opencolossus.train.board import Board

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'opencolossus\[tensorboard\]'"):
        Board(tmp_path, 0)


def test_a_log_gets_plain_lines_now_and_then(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now[0]))
    out = io.StringIO()
    lines = Lines(out)
    for step in range(1, 34):
        lines.step(replace(RECORD, step=step), step / 33, 5.0)
        now[0] += 1.0
    said = [line.split()[:2] for line in out.getvalue().splitlines()]
    assert said == [["step", number] for number in ("1", "11", "21", "31", "33")]
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "0:05 left"), (65, "1:05 left"), (3725, "1:02:05 left"), (90000, "1 d 1 h left")],
)
def test_time_to_go_is_written_for_people(seconds, said):
    assert eta(seconds) == said
