"""The sample for the tokenizer is even, bounded, and the same wherever it is drawn."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from opencolossus.data.survey import Sample


def draw(documents: list[str], budget: int) -> list[str]:
    sample = Sample(budget)
    for document in documents:
        sample.add(int.from_bytes(sha256(document.encode()).digest()[:8], "little"), document)
    return list(sample.texts())


@given(st.lists(st.text("abc", min_size=1, max_size=20), unique=True), st.integers(20, 200))
def test_it_keeps_to_its_budget_and_to_the_order(documents: list[str], budget: int) -> None:
    kept = draw(documents, budget)
    assert sum(map(len, kept)) <= budget
    assert kept == [document for document in documents if document in set(kept)]
    if sum(map(len, documents)) <= budget:
        assert kept == documents


@given(st.permutations([f"document number {n}" for n in range(40)]))
def test_the_order_of_the_corpus_does_not_choose(documents: list[str]) -> None:
    everything = [f"document number {n}" for n in range(40)]
    assert set(draw(documents, 300)) == set(draw(everything, 300))


def test_all_parts_of_a_large_corpus_are_heard() -> None:
    kept = [int(text) for text in draw([f"{n:08d}" for n in range(20_000)], 16_000)]
    assert 1_000 <= len(kept) <= 2_000
    thirds = [sum(n // 6_667 == part for n in kept) / len(kept) for part in range(3)]
    assert all(0.27 < third < 0.40 for third in thirds)
