"""Whole runs, small: what is trained, resumed, refused."""

from __future__ import annotations

import math
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from small_run import events, losses

from opencolossus.specs.errors import UserError
from opencolossus.train import loop, saver
from opencolossus.train.checkpoint import Store, read_weights
from opencolossus.train.console import Silent
from opencolossus.train.guard import Guard
from opencolossus.train.loop import Found, Loop
from opencolossus.train.run import train
from opencolossus.train.schedule import factor


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, describe):
    folder = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    return folder, train(describe(), folder, Silent())


def test_it_learns(undisturbed):
    folder, result = undisturbed
    curve = losses(folder)
    assert len(curve) == result.step == 20
    assert curve[1] == pytest.approx(math.log(512), rel=0.1), "an untrained network knows nothing"
    assert curve[20] < curve[1] - 0.4
    assert result.bits_per_byte == pytest.approx(curve[20] / math.log(2) / 2.2, rel=0.3)


def test_the_folder_holds_what_chat_needs(undisturbed):
    folder, _ = undisturbed
    assert {"description.json", "tokenizer.json", "result.json", "log.jsonl", "metrics.prom"} <= {
        path.name for path in folder.iterdir()
    }
    step = Store(folder, print).newest_sound()
    assert step == 20
    weights = read_weights(Store(folder, print).path(step))
    assert all(w.dtype == torch.float32 for w in weights.values())


def test_gauges_are_prometheus_text(undisturbed):
    from prometheus_client.parser import text_string_to_metric_families

    folder, result = undisturbed
    families = text_string_to_metric_families((folder / "metrics.prom").read_text())
    values = {family.name: family.samples[0].value for family in families}
    assert values["colossus_train_step"] == result.step
    assert values["colossus_train_loss"] == losses(folder)[result.step]
    assert values["colossus_train_expert_load"] >= 1.0


@pytest.mark.parametrize("at", [7, 10])
def test_resume_after_a_signal_is_exact_to_the_bit(
    undisturbed, describe, tmp_path, heard, monkeypatch, at
):
    step = Loop._step

    def then_signal(self: Loop) -> None:
        step(self)
        if self.training.position.step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Loop, "_step", then_signal)
    first = train(describe(), tmp_path, heard)
    assert (first.finished, first.reason, first.step) == (False, "SIGTERM", at)
    monkeypatch.setattr(Loop, "_step", step)
    second = train(describe(), tmp_path, heard, resume=True)
    whole, result = undisturbed
    assert second.finished
    assert losses(tmp_path) == losses(whole)
    assert second.bits_per_byte == result.bits_per_byte


def test_a_run_whose_steps_were_all_skipped_so_far_can_be_resumed(
    describe, tmp_path, heard, monkeypatch
):
    """Its optimisers never moved, but their states are in the checkpoint all the same."""
    reason = Guard._reason

    def then_signal(self: Guard, loss: float, norm: float) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "loss is nan"

    monkeypatch.setattr(Guard, "_reason", then_signal)
    first = train(describe(), tmp_path, heard)
    assert (first.reason, first.step, first.skipped) == ("SIGTERM", 1, 1)
    monkeypatch.setattr(Guard, "_reason", reason)
    second = train(describe("run.tokens=5120"), tmp_path, heard, resume=True)
    assert (second.finished, second.step, second.skipped) == (True, 10, 1)


def test_resume_falls_back_from_a_damaged_checkpoint_aloud(undisturbed, describe, tmp_path, heard):
    train(describe("run.tokens=7680"), tmp_path, heard)
    newest = Store(tmp_path, print).path(15)
    (newest / "__0_0.distcp").write_bytes(b"not a checkpoint")
    train(describe(), tmp_path, heard, resume=True)
    assert any("step-00000015 is damaged" in note for note in heard.notes)
    assert "resuming at step 10 of 20" in heard.notes


def test_a_limit_on_time_ends_the_run_and_its_schedule(describe, tmp_path, heard, monkeypatch):
    now, gradients = [100.0], Loop._gradients

    def in_an_eighth_of_a_second(self: Loop) -> Found | None:
        now[0] += 0.125
        return gradients(self)

    monkeypatch.setattr(Loop, "_gradients", in_an_eighth_of_a_second)
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    for module in (loop, saver):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(saver, "save_interval", lambda stall: 60.0)
    result = train(describe("run.tokens=1B", "run.time_limit=3 s"), tmp_path, heard)
    assert (result.reason, result.step, result.elapsed) == ("time limit", 24, 3.0)
    rates = [e["learning_rate"] for e in events(tmp_path, "step")]
    assert rates[-1] < 0.15, "the cosine has come down"


def test_a_second_run_does_not_overwrite_the_first(undisturbed, describe, heard):
    with pytest.raises(UserError, match="holds a run already"):
        train(describe(), undisturbed[0], heard)


@pytest.mark.parametrize("out", ["notes.txt", "notes.txt/run"])
def test_a_file_is_no_folder_for_a_run(describe, tmp_path, heard, out):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is a file or lies in one; give a folder"):
        train(describe(), tmp_path / out, heard)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_there_must_be_something_to_resume(describe, tmp_path, heard):
    with pytest.raises(UserError, match="no run to resume"):
        train(describe(), tmp_path / "none", heard, resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.layers=3", "another model: its model.layers is 2"),
        ("run.sequence=32", "other data"),
        ("run.seed=4", "set run.seed to 0"),
        ("run.precision=bf16", r"run\.precision is bf16, but the run began with fp32"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(describe, tmp_path, heard, change, said):
    train(describe("run.tokens=1024"), tmp_path, heard)
    with pytest.raises(UserError, match=said):
        train(describe(change), tmp_path, heard, resume=True)


def test_a_run_that_goes_on_with_another_batch_sees_as_many_tokens(describe, tmp_path, heard):
    train(describe("run.tokens=5120"), tmp_path, heard)
    found = train(describe("run.batch=1024"), tmp_path, heard, resume=True)
    assert (found.step, found.tokens) == (10 + 5, 10240)
    assert "changed since the run began: run.batch: 512.0 -> 1024.0" in heard.notes
    assert "resuming at step 10 of 15" in heard.notes
    rates = [event["learning_rate"] for event in events(tmp_path, "step")]
    assert rates[11] == pytest.approx(factor(describe().run.schedule, 12 / 20))


def test_what_to_compile_can_be_changed_on_the_way(describe, tmp_path, heard):
    """Left to itself, it stays what the run found out when it began."""
    train(describe("run.tokens=2560", "run.compile=functions"), tmp_path, heard)
    store = Store(tmp_path, print)
    train(describe("run.tokens=5120"), tmp_path, heard, resume=True)
    assert store.state(10)["compiled"] == "functions"
    train(describe("run.compile=none"), tmp_path, heard, resume=True)
    assert store.state(20)["compiled"] == "none"


def test_precision_that_is_not_built_is_refused(describe, tmp_path, heard):
    with pytest.raises(UserError, match=r"run\.precision fp8"):
        train(describe("run.precision=fp8"), tmp_path, heard)


def test_a_run_without_data_is_refused(describe, tmp_path, heard):
    spec = describe()
    without = spec.model_copy(update={"run": spec.run.model_copy(update={"data": None})})
    with pytest.raises(UserError, match=r"run\.data is missing"):
        train(without, tmp_path, heard)
