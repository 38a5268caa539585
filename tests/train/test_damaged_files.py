"""Files beside the checkpoints, damaged one at a time: a resume is exact, or says what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import losses

from opencolossus.specs.errors import UserError
from opencolossus.train.console import Silent
from opencolossus.train.run import train

FILES = [
    "data/tokens/manifest.json",
    "data/tokens/shard-00000.bin",
    "data/tokens/starts.npy",
    "data/tokens/digests.npy",
    "data/tokens/text_bytes.npy",
    "data/tokens/tokenizer.json",
    "tokenizer.json",
    "description.json",
    "log.jsonl",
    "metrics.prom",
    ".lock",
    "data/.lock",
]
MATTER = FILES[:8]
"""What the rest of the run depends on: damage here is never passed over in silence."""


def flip(path: Path) -> None:
    """One bit, in the middle."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def half_done(tmp_path_factory, describe) -> tuple[Path, dict[int, float], float]:
    """A run as it was after 3 of 6 steps; its losses and bits per byte at the end."""
    folder = tmp_path_factory.mktemp("half") / "run"
    found = train(describe("run.tokens=3072", "run.checkpoint_every=3"), folder, Silent())
    whole = losses(folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    assert found.bits_per_byte is not None
    return folder, whole, found.bits_per_byte


@pytest.mark.parametrize("harm", [flip, truncate, empty, delete], ids=lambda f: f.__name__)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_made_good_or_named(
    half_done, describe, heard, tmp_path, file: str, harm: Callable[[Path], None]
):
    before, whole, bits_per_byte = half_done
    folder, shown = tmp_path / "run", heard
    shutil.copytree(before, folder)
    if (folder / file).stat().st_size == 0 and harm in (flip, truncate):
        pytest.skip("nothing in it to be harmed")
    harm(folder / file)
    description = describe("run.tokens=3072", "run.checkpoint_every=3")
    try:
        found = train(description, folder, shown, resume=True)
    except UserError as error:
        said = str(error)
    else:
        said = " ".join(shown.notes)
        assert found.bits_per_byte == bits_per_byte
        curve = losses(folder)
        assert {step: curve[step] for step in (4, 5, 6)} == {n: whole[n] for n in (4, 5, 6)}
    if file in MATTER:
        assert Path(file).name in said


def test_every_number_of_the_manifest_is_guarded(half_done, describe, heard, tmp_path):
    """Wrong in what is only told, as the corpus' size, it is as damaged as anywhere."""
    folder, shown = tmp_path / "run", heard
    shutil.copytree(half_done[0], folder)
    path = folder / "data" / "tokens" / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"text_bytes": fields["text_bytes"] + 1}))
    train(describe("run.tokens=3072", "run.checkpoint_every=3"), folder, shown, resume=True)
    assert any("manifest.json is missing or damaged" in note for note in shown.notes)
