"""What a run computes in, and whether it compiles: found out once, kept for good."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from opencolossus.grok import fused
from opencolossus.train import precision
from opencolossus.train.console import Silent
from opencolossus.train.loop import Loop
from opencolossus.train.run import train


def losses(folder):
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {e["step"]: e["loss"] for e in events if e["event"] == "step"}


def test_only_a_long_run_on_a_cpu_compiles(describe, monkeypatch):
    monkeypatch.setattr(fused, "available", lambda: True)
    cpu, short, long = torch.device("cpu"), describe(), describe("run.tokens=1B")
    assert not precision.compiles(short.run, short.model, cpu)
    assert precision.compiles(long.run, long.model, cpu)
    assert not precision.compiles(long.run, long.model, torch.device("cuda"))
    limited = describe("run.tokens=1B", "run.time_limit=1 min")
    assert not precision.compiles(limited.run, limited.model, cpu)


def test_nothing_compiles_where_no_compiler_is(describe, monkeypatch):
    monkeypatch.setattr(fused, "available", lambda: False)
    long = describe("run.tokens=1B")
    assert not precision.compiles(long.run, long.model, torch.device("cpu"))


@pytest.mark.skipif(not fused.available(), reason="no C++ compiler to compile with")
def test_a_compiled_run_learns_the_same_and_resumes_to_the_bit(describe, tmp_path, monkeypatch):
    description = describe("run.tokens=5120")
    train(description, tmp_path / "plain", Silent())
    monkeypatch.setattr(precision, "EARNED_BACK", 0.0)
    train(description, tmp_path / "whole", Silent())
    step = Loop._step

    def then_signal(self: Loop) -> None:
        step(self)
        if self.training.position.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", then_signal)
        assert train(description, tmp_path / "parts", Silent()).step == 4
    # What was found out at the start holds, whatever would be found out now.
    monkeypatch.setattr(precision, "EARNED_BACK", float("inf"))
    assert train(description, tmp_path / "parts", Silent(), resume=True).step == 10
    whole = losses(tmp_path / "whole")
    assert losses(tmp_path / "parts") == whole
    assert losses(tmp_path / "plain") == pytest.approx(whole, abs=1e-3)
    assert whole != losses(tmp_path / "plain"), "it did compile"
    assert not fused.is_on()
