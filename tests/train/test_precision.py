"""What a run computes in, and whether it compiles: found out once, kept for good."""

from __future__ import annotations

import json
import os
import signal

import pytest
import ranks
import torch

from opencolossus.grok import fused
from opencolossus.train import precision
from opencolossus.train.console import Silent
from opencolossus.train.loop import Loop
from opencolossus.train.run import train


def losses(folder):
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {e["step"]: e["loss"] for e in events if e["event"] == "step"}


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ({torch.float32: 1.0, torch.bfloat16: 0.5}, torch.bfloat16),
        ({torch.float32: 1.0, torch.bfloat16: 0.95}, torch.float32),
        ({torch.float32: 1.0, torch.bfloat16: 3.0}, torch.float32),
    ],
)
def test_a_cpu_computes_in_16_bits_where_a_trial_finds_that_faster(monkeypatch, seconds, found):
    monkeypatch.setattr(precision, "_seconds", lambda dtype, _: seconds[dtype])
    model, cpu = ranks.model("grok"), torch.device("cpu")
    assert precision.compute_type("bf16", model, cpu) == found
    assert precision.compute_type("fp32", model, cpu) == torch.float32
    assert precision.compute_type("bf16", model, torch.device("cuda")) == torch.bfloat16


def test_the_trial_really_multiplies():
    model = ranks.model("grok")
    assert all(precision._seconds(dtype, model) > 0 for dtype in (torch.float32, torch.bfloat16))


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
