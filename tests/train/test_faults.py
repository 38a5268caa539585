"""Steps that go wrong in the middle of a run, and data that never was any."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import events

from opencolossus.specs.errors import UserError
from opencolossus.train.engine import Engine, Sums
from opencolossus.train.guard import RUN_OF_BAD
from opencolossus.train.run import train


@pytest.fixture
def poison(monkeypatch):
    """Make the gradients of some calls not finite, weights and all."""
    honest, count = Engine.gradients, [0]

    def install(*calls: int) -> None:
        def gradients(self: Engine, batches: object) -> Sums:
            count[0] += 1
            sums = honest(self, batches)  # type: ignore[arg-type]
            if count[0] not in calls:
                return sums
            for weight in self.weights.values():
                if weight.grad is not None:
                    weight.grad.fill_(math.nan)
            return replace(sums, loss=math.nan, norm=math.nan)

        monkeypatch.setattr(Engine, "gradients", gradients)

    return install


def test_a_step_that_is_not_finite_is_skipped_and_counted(describe, tmp_path, heard, poison):
    poison(4, 9)
    result = train(describe(), tmp_path, heard)
    assert result.skipped == 2
    assert [e["step"] for e in events(tmp_path, "skipped")] == [4, 9]
    assert any(note.startswith("step 4 skipped: loss is nan") for note in heard.notes)
    after = [float(str(e["loss"])) for e in events(tmp_path, "step") if e["step"] not in (4, 9)]
    assert all(map(math.isfinite, after)), "the weights have not been touched"
    assert after[-1] < after[0]


def test_a_run_of_them_goes_back_to_the_checkpoint_before_them(describe, tmp_path, heard, poison):
    poison(*range(7, 7 + RUN_OF_BAD))
    result = train(describe("run.tokens=12800"), tmp_path, heard)
    assert (result.finished, result.rollbacks, result.step) == (True, 1, 25)
    (back,) = events(tmp_path, "rollback")
    assert back["to"] == 5, "the weights of step 10 would be those that went wrong"
    assert any("back to the weights of step 5" in note for note in heard.notes)
    saved = [e["step"] for e in events(tmp_path, "checkpoint")]
    assert saved == [5, 15, 20, 25]


def test_a_run_that_does_not_recover_ends_in_a_sentence(describe, tmp_path, heard, poison):
    poison(*range(6, 1000))
    with pytest.raises(UserError, match=r"does not recover.*run\.optimiser\.learning_rate"):
        train(describe("run.tokens=100000"), tmp_path, heard)


def make(folder: Path, name: str, content: bytes) -> None:
    (folder / "corpus").mkdir(exist_ok=True)
    (folder / "corpus" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "document"),
        ("short.txt", b"Hello there, how are you today? Fine.", "document"),
        ("binary.txt", b"\x00\x01\x02" * 50, "binary"),
        ("broken.jsonl", b'{"text": "one"}\n{"text": \n', "broken.jsonl:2"),
        ("picture.png", b"\x89PNG", "holds no file"),
    ],
)
def test_data_that_cannot_be_trained_on_ends_in_one_sentence(
    describe_in, tmp_path, heard, name, content, said
):
    make(tmp_path, name, content)
    with pytest.raises(UserError, match=said) as caught:
        train(describe_in(tmp_path), tmp_path / "run", heard)
    assert "\n" not in str(caught.value)
