"""Checkpoints: whole or not there, never trusted unseen."""

from __future__ import annotations

import errno
import subprocess
from collections import namedtuple
from pathlib import Path
from shutil import rmtree

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from opencolossus.specs.errors import UserError
from opencolossus.train import checkpoint, manifest, unwritten
from opencolossus.train.checkpoint import Store, read_weights

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, said):
    found = Store(tmp_path, said.append)
    yield found
    found.close()


def tensors(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        "weights.a": torch.randn(5, 7),
        "buffers.b": torch.randn(3),
        "adamw.a.step": torch.tensor(float(seed)),
    }


def save(store: Store, step: int) -> None:
    store.save(step, tensors(step), {"step": step})
    store.wait()


def test_what_is_read_is_what_was_saved(store):
    save(store, 4)
    found = {name: torch.zeros_like(t) for name, t in tensors(4).items()}
    store.read_into(4, found)
    assert all(torch.equal(found[n], t) for n, t in tensors(4).items())
    assert store.state(4) == {"step": 4}


def test_training_may_go_on_while_a_checkpoint_is_written(store):
    mine = tensors(1)
    wanted = mine["weights.a"].clone()
    store.save(1, mine, {})
    mine["weights.a"].zero_()
    store.wait()
    assert torch.equal(read_weights(store.path(1))["a"], wanted)


def test_weights_are_read_by_the_names_of_the_network(store):
    save(store, 1)
    assert set(read_weights(store.path(1))) == {"a", "b"}


def test_the_newest_two_are_kept(store):
    for step in (1, 2, 3):
        save(store, step)
    assert store.steps() == [3, 2]


def test_a_damaged_later_one_does_not_push_out_a_sound_one(store, said):
    for step in (10, 20, 30):
        save(store, step)
    spoil(store.path(30) / "state.json", "flip")
    assert store.newest_sound() == 20
    save(store, 25)  # the run went on from 20
    assert store.steps() == [25, 20]
    assert list(store.folder.glob(".*")) == []


def test_the_newest_up_to_a_step(store):
    save(store, 10)
    save(store, 20)
    assert store.newest_sound(at_most=19) == 10
    assert store.newest_sound(at_most=9) is None


def test_a_full_disk_is_called_so_whatever_the_writer_said(store, monkeypatch):
    save(store, 1)

    def short(*args: object, **kwargs: object) -> None:
        raise CheckpointException("", {0: (RuntimeError("unexpected pos 704 vs 598"), None)})

    monkeypatch.setattr(checkpoint, "save", short)
    monkeypatch.setattr(unwritten.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 4096))
    store.save(2, tensors(2), {})
    with pytest.raises(UserError, match=r"the disk is full; the last intact one is"):
        store.wait()


def test_sha256sum_of_coreutils_agrees(store):
    save(store, 1)
    subprocess.run(["sha256sum", "-c", manifest.NAME], cwd=store.path(1), check=True)


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", "state.json", manifest.NAME])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_newest_falls_back_aloud(store, said, file, harm):
    save(store, 1)
    save(store, 2)
    spoil(store.path(2) / file, harm)
    assert store.newest_sound() == 1
    assert "step-00000002 is damaged" in said[0]


def spoil(path: Path, harm: str) -> None:
    data = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 3] ^= 0x10
        path.write_bytes(data)


def test_half_a_checkpoint_is_not_seen_and_is_cleared_away(store):
    part = store.folder / ".step-00000009.part"
    part.mkdir(parents=True)
    assert store.newest_sound() is None
    save(store, 1)
    assert not part.exists()


def test_a_full_disk_ends_in_a_sentence_and_leaves_the_last_one(store, monkeypatch):
    save(store, 1)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    store.save(2, tensors(2), {})
    with pytest.raises(
        UserError, match=r"the disk is full; the last intact one is .*step-00000001"
    ):
        store.wait()
    assert store.newest_sound() == 1
    assert [p.name for p in store.folder.iterdir()] == ["step-00000001"]


def test_a_checkpoint_of_another_shape_is_refused_in_a_sentence(store):
    save(store, 1)
    with pytest.raises(UserError, match=r"weights\.a"):
        store.read_into(1, {"weights.a": torch.zeros(2, 2)})
    with pytest.raises(UserError, match=r"weights\.missing"):
        store.read_into(1, {"weights.missing": torch.zeros(2, 2)})


def test_a_folder_that_cannot_be_made_ends_in_a_sentence(store):
    save(store, 1)
    rmtree(store.folder)
    store.folder.write_text("not a folder")
    with pytest.raises(UserError, match=r"step 2 cannot be written .* there is none before it"):
        store.save(2, tensors(2), {})
