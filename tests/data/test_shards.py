"""Shards give back what was written, and are not trusted when damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.data.manifest import FileSum, Manifest
from opencolossus.data.prepare import Prepared
from opencolossus.data.shards import Shards, Writer, held_out
from opencolossus.specs.errors import UserError

DOCUMENTS = st.lists(st.lists(st.integers(0, 99_999), min_size=1, max_size=30), min_size=1)


@given(DOCUMENTS, st.integers(1, 60), st.sampled_from([100_000, 65_537]))
def test_documents_come_back_from_any_shard(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    shard_tokens: int,
    vocabulary: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    writer = Writer(folder, vocabulary, shard_tokens)
    (folder / "tokenizer.json").write_text("{}")
    writer.add((ids, bytes([n % 256]) * 32, len(ids)) for n, ids in enumerate(documents))
    files = writer.finish()
    manifest(writer, vocabulary, files).save(folder)
    shards = Shards.open(folder)
    assert [shards.document(n).tolist() for n in range(len(documents))] == documents
    assert shards.manifest.tokens == sum(map(len, documents))
    assert shards.text_bytes.sum() == shards.manifest.text_bytes


def manifest(writer: Writer, vocabulary: int, files: list[FileSum]) -> Manifest:
    return Manifest(
        recipe={},
        corpus="test",
        signature="",
        corpus_sha256="",
        tokenizer="",
        tokenizer_given=False,
        vocabulary=vocabulary,
        dtype=writer.dtype,
        documents=writer.documents,
        tokens=sum(writer.shard_tokens),
        text_bytes=writer.text_bytes,
        answers=0,
        bad_records=0,
        first_bad_record="",
        shard_tokens=writer.shard_tokens,
        files=files,
    )


@pytest.mark.parametrize(("vocabulary", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_ids_are_as_wide_as_the_vocabulary_needs(
    tmp_path: Path, vocabulary: int, dtype: str
) -> None:
    writer = Writer(tmp_path, vocabulary)
    writer.add([([vocabulary - 1], b"\0" * 32, 1)])
    writer.close()
    assert writer.dtype == dtype
    assert np.fromfile(tmp_path / "shard-00000.bin", dtype).tolist() == [vocabulary - 1]


@pytest.mark.parametrize(
    "name",
    ["shard-00000.bin", "starts.npy", "digests.npy", "text_bytes.npy", "tokenizer.json"],
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_any_damage_is_found(prepared: Prepared, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "tokens"
    shutil.copytree(prepared.shards.folder, folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    with pytest.raises(UserError, match=f"{name}.*prepare the data again"):
        Shards.open(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": [{"name": 1}]}'])
def test_a_torn_manifest_is_found(prepared: Prepared, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "tokens"
    shutil.copytree(prepared.shards.folder, folder)
    (folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json is missing or damaged"):
        Shards.open(folder)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, unique=True), st.floats(0.001, 0.999))
def test_a_document_stays_on_its_side_when_others_come(hashes: list[int], share: float) -> None:
    digests = np.array(hashes, np.uint64)
    kept = held_out(digests, share)
    assert kept.any()
    assert not kept.all()
    more = np.concatenate([digests, digests[:1] // 2, ~digests])
    again = held_out(more, share)
    below = digests < np.uint64(int(share * 2**64))
    assert (again[: len(digests)] == below).all() or not below.any() or below.all()


def test_about_the_asked_share_is_held_out() -> None:
    digests = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    assert held_out(digests, 0.02).mean() == pytest.approx(0.02, abs=0.002)
