"""The stream of batches: everything once an epoch, the same for any ranks, exact on resume."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.data import chat
from opencolossus.data.loader import IGNORED, Batch, Loader
from opencolossus.data.prepare import Prepared
from opencolossus.specs.errors import UserError


def stack(parts: list[Batch]) -> np.ndarray:
    return np.concatenate([np.stack([p.tokens, p.targets, p.document_ids]) for p in parts], axis=1)


def pieces(batch: Batch) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What each document piece in the batch reads and is asked for."""
    found = []
    for row in range(len(batch)):
        for piece in range(batch.document_ids[row].max() + 1):
            where = batch.document_ids[row] == piece
            read, asked = batch.tokens[row][where], batch.targets[row][where]
            found.append((tuple(read.tolist()), tuple(asked.tolist())))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 24))
def test_an_epoch_holds_every_row_once(prepared: Prepared, seed: int, batch: int) -> None:
    loader = Loader(prepared.train, batch, seed)
    epochs = 3
    seen: list[int] = []
    while len(seen) < epochs * len(prepared.train):
        seen += loader._next_rows().tolist()
    rows = len(prepared.train)
    orders = [tuple(seen[e * rows : (e + 1) * rows]) for e in range(epochs)]
    assert all(sorted(order) == list(range(rows)) for order in orders)
    assert len(set(orders)) == epochs


def test_an_epoch_asks_for_every_training_token_once(prepared: Prepared) -> None:
    """Against the shards: each document less its first token, cut where a row ends."""
    train = prepared.train
    loader = Loader(train, 1, seed=3)
    asked: Counter[int] = Counter()
    for _ in range(len(train)):
        asked.update(loader.next_batch().targets[0].tolist())
    kept = set(held_out_numbers(prepared))
    expected: Counter[int] = Counter()
    for number in range(prepared.shards.manifest.documents):
        if number not in kept:
            expected.update(prepared.shards.document(number)[1:].tolist())
    asked.pop(IGNORED, None)
    assert asked == expected


def held_out_numbers(prepared: Prepared) -> list[int]:
    packing = prepared.held_out.packing
    owners = np.searchsorted(prepared.shards.starts, packing.starts, "right") - 1
    return sorted(set(owners.tolist()))


def test_targets_follow_tokens_within_a_document_only(prepared: Prepared) -> None:
    documents = [
        prepared.shards.document(n).tolist() for n in range(prepared.shards.manifest.documents)
    ]
    spoken = {tuple(d[i : i + 2]) for d in documents for i in range(len(d) - 1)}
    for _ in range(5):
        batch = prepared.loader(8, seed=1).next_batch()
        for read, asked in pieces(batch):
            assert read[1:] == asked[:-1]
            assert (read[-1], asked[-1]) in spoken
        padded = batch.document_ids == -1
        assert (batch.targets[padded] == IGNORED).all()
        assert (batch.tokens[padded] == chat.PAD_ID).all()
        assert batch.valid == (~padded).sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 40))
def test_ranks_together_read_the_same_global_batches(
    prepared: Prepared, seed: int, ranks: int, steps: int
) -> None:
    alone = Loader(prepared.train, 12, seed)
    many = [Loader(prepared.train, 12, seed, rank, ranks) for rank in range(ranks)]
    for _ in range(steps % 5 + 1):
        parts = [loader.next_batch() for loader in many]
        assert np.array_equal(stack(parts), stack([alone.next_batch()]))
    assert all(loader.state() == alone.state() for loader in many)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 3]))
def test_resume_at_any_step_on_any_ranks_gives_the_same_stream(
    prepared: Prepared, step: int, before: int, after: int
) -> None:
    first = [Loader(prepared.train, 12, 5, rank, before) for rank in range(before)]
    for _ in range(step):
        for loader in first:
            loader._next_rows()
    state = first[-1].state()
    whole = Loader(prepared.train, 12, 5)
    for _ in range(step):
        whole._next_rows()
    resumed = [Loader(prepared.train, 12, 5, rank, after, state) for rank in range(after)]
    for _ in range(3):
        parts = [loader.next_batch() for loader in resumed]
        assert np.array_equal(stack(parts), stack([whole.next_batch()]))


def test_another_batch_size_resumes_without_loss(prepared: Prepared) -> None:
    small = Loader(prepared.train, 3, 0)
    seen = [small._next_rows() for _ in range(4)]
    large = Loader(prepared.train, 8, 0, state=small.state())
    seen.append(large._next_rows())
    fresh = Loader(prepared.train, 20, 0)
    assert np.array_equal(np.concatenate(seen), fresh._next_rows())


def test_a_state_of_other_data_or_seed_is_refused(prepared: Prepared) -> None:
    state = Loader(prepared.train, 4, seed=1).state()
    with pytest.raises(UserError, match=r"set run\.seed to 1"):
        Loader(prepared.train, 4, seed=2, state=state)
    with pytest.raises(UserError, match="trained on other data"):
        Loader(prepared.held_out, 1, seed=1, state=state)


def test_batches_that_do_not_fit_are_refused(prepared: Prepared) -> None:
    with pytest.raises(
        UserError, match=r"10 sequences does not divide over 4 .* holds 8 sequences"
    ):
        Loader(prepared.train, 10, 0, 0, 4)
    rows = len(prepared.train)
    with pytest.raises(
        UserError, match=rf"fills {rows} of {rows + 1} sequences .* run\.batch to {rows * 32}"
    ):
        Loader(prepared.train, rows + 1, 0)


@given(st.integers(1, 40), st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_held_out_text_comes_once_whatever_the_batch(
    prepared: Prepared, per_rank: int, ranks: int
) -> None:
    size = per_rank * ranks
    streams = [list(prepared.held_out_batches(size, rank, ranks)) for rank in range(ranks)]
    assert len({len(stream) for stream in streams}) == 1
    batches = [batch for stream in streams for batch in stream]
    assert {batch.tokens.shape for batch in batches} == {(per_rank, 32)}
    kept = held_out_numbers(prepared)
    expected: Counter[int] = Counter()
    for number in kept:
        expected.update(prepared.shards.document(number)[1:].tolist())
    asked = Counter(t for batch in batches for t in batch.targets.ravel().tolist())
    asked.pop(IGNORED, None)
    assert asked == expected
    total = int(prepared.shards.text_bytes[kept].sum())
    assert sum(batch.text_bytes for batch in batches) == total


def test_a_part_of_a_batch_is_some_of_its_rows(prepared: Prepared) -> None:
    batch = prepared.loader(12, 0).next_batch()
    parts = [batch.part(slice(first, None, 3)) for first in range(3)]
    assert sum(part.valid for part in parts) == batch.valid
    assert sum(part.text_bytes for part in parts) == batch.text_bytes
    assert np.array_equal(parts[1].tokens, batch.tokens[1::3])
