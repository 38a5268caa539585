"""What a run computes in, and whether it compiles: found out once, kept for good."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from opencolossus.grok import fused
from opencolossus.plan import mode
from opencolossus.plan.facts import Facts
from opencolossus.train import precision, probe
from opencolossus.train.console import Silent
from opencolossus.train.loop import Loop
from opencolossus.train.master import Masters
from opencolossus.train.run import train


def losses(folder):
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {e["step"]: e["loss"] for e in events if e["event"] == "step"}


@pytest.mark.parametrize(
    ("gain", "found"),
    [(2.0, torch.bfloat16), (1.05, torch.float32), (0.3, torch.float32)],
)
def test_a_cpu_computes_in_16_bits_where_a_trial_finds_that_faster(monkeypatch, gain, found):
    facts = Facts(1e11, gain * 1e11, 1e10)
    monkeypatch.setattr(precision.probe, "found", lambda: facts)
    cpu = torch.device("cpu")
    assert precision.compute_type("bf16", cpu) == found
    assert precision.compute_type("fp32", cpu) == torch.float32
    assert precision.compute_type("bf16", torch.device("cuda")) == torch.bfloat16


def test_gradients_of_many_micro_batches_are_summed_in_fp32():
    """A pipeline takes them over once per step only; in bf16, 256 + 1 is 256."""
    used = torch.nn.Parameter(torch.ones(3))
    masters = Masters({"blocks.0.up.weight": used}, torch.bfloat16)
    for _ in range(300):
        used.sum().backward()
    masters.collect()
    assert used.dtype == torch.bfloat16
    assert masters.weights["blocks.0.up.weight"].grad.tolist() == [300.0] * 3
    assert used.grad is None


def test_the_trial_really_multiplies_and_copies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "BUDGET", 0.0)
    facts = probe.found.__wrapped__()
    assert min(facts.fp32, facts.bf16, facts.copied) > 1e8
    assert facts.sent is None


@pytest.mark.skipif(not fused.available(), reason="no C++ compiler to compile with")
def test_a_compiled_run_learns_the_same_and_resumes_to_the_bit(describe, tmp_path, monkeypatch):
    description = describe("run.tokens=5120")
    step = Loop._step
    compiled = []

    def noted(self: Loop) -> None:
        step(self)
        compiled.append(fused.is_on())

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", noted)
        train(description, tmp_path / "plain", Silent())
        monkeypatch.setattr(mode, "EARNED_BACK", 0.0)
        train(description, tmp_path / "whole", Silent())
    # By the switch, not by the losses: rounded to what is logged, they can be the same.
    assert compiled == [False] * 10 + [True] * 10

    def then_signal(self: Loop) -> None:
        step(self)
        if self.training.position.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", then_signal)
        assert train(description, tmp_path / "parts", Silent()).step == 4
    # What was found out at the start holds, whatever would be found out now.
    monkeypatch.setattr(mode, "EARNED_BACK", float("inf"))
    assert train(description, tmp_path / "parts", Silent(), resume=True).step == 10
    whole = losses(tmp_path / "whole")
    assert losses(tmp_path / "parts") == whole
    assert losses(tmp_path / "plain") == pytest.approx(whole, abs=1e-3)
    assert not fused.is_on()
