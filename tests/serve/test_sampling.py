"""The choice of tokens against definitions written out for one row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from opencolossus.serve.request import Sampling
from opencolossus.serve.sampling import choose, choose_among_all, penalise


def chosen(logits: torch.Tensor, samplings: list[Sampling], uniforms: list[float]) -> list[int]:
    """Tokens of all rows, as the engine takes them."""
    tokens, unsure = choose(logits, samplings, uniforms)
    for i in unsure.nonzero().flatten().tolist():
        tokens[i] = choose_among_all(logits[i : i + 1], [samplings[i]], [uniforms[i]])[0]
    return [int(token) for token in tokens.tolist()]


def kept(logits: list[float], sampling: Sampling) -> set[int]:
    """The tokens that top-k and top-p leave, by their definitions."""
    scaled = np.array(logits) / sampling.temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-weights, kind="stable")[: sampling.top_k or len(weights)]
    shares = weights[order] / weights[order].sum()
    before = np.concatenate(([0.0], np.cumsum(shares)[:-1]))
    return {int(token) for token, mass in zip(order, before, strict=True) if mass < sampling.top_p}


@settings(deadline=None)
@given(
    st.lists(st.integers(-60, 60), min_size=2, max_size=30, unique=True),
    st.floats(0.2, 2.0),
    st.floats(0.05, 0.98),
    st.integers(0, 10),
    st.floats(0, 1, exclude_max=True),
)
def test_only_tokens_within_top_k_and_top_p_are_chosen(
    numbers: list[int], temperature: float, top_p: float, top_k: int, uniform: float
) -> None:
    logits = [number / 10 for number in numbers]
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    token = chosen(torch.tensor([logits]), [sampling], [uniform])[0]
    near = [kept(logits, Sampling(temperature, top_p + e, top_k)) for e in (-1e-5, 0, 1e-5)]
    assert any(token in allowed for allowed in near)


def test_tokens_are_chosen_as_often_as_their_probability_says() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    generator = np.random.default_rng(0)
    sampling = Sampling(temperature=1.5)
    rows = 20_000
    tokens = chosen(logits.repeat(rows, 1), [sampling] * rows, generator.random(rows).tolist())
    expected = torch.softmax(logits[0].double() / 1.5, -1).numpy()
    counts = np.bincount(tokens, minlength=4)
    assert chisquare(counts, expected * rows).pvalue > 1e-3


@settings(deadline=None)
@given(st.data())
def test_a_row_is_chosen_alike_alone_and_among_others(data: st.DataObject) -> None:
    vocabulary = 700
    rows = data.draw(st.integers(2, 5))
    samplings = [
        Sampling(
            temperature=data.draw(st.sampled_from([0.0, 0.3, 1.0, 1.8])),
            top_p=data.draw(st.sampled_from([1.0, 0.9, 0.999])),
            top_k=data.draw(st.sampled_from([0, 1, 40, 500])),
        )
        for _ in range(rows)
    ]
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    logits = torch.randn(rows, vocabulary) * data.draw(st.sampled_from([0.1, 1.0, 5.0]))
    uniforms = [data.draw(st.floats(0, 1, exclude_max=True)) for _ in range(rows)]
    together = chosen(logits, samplings, uniforms)
    alone = [chosen(logits[i : i + 1], [samplings[i]], [uniforms[i]])[0] for i in range(rows)]
    assert together == alone


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("temperature", [0.0, 1e-3, 1.0])
def test_a_token_without_weight_is_never_chosen(temperature: float, uniform: float) -> None:
    logits = torch.tensor([[-200.0, 5.0, 4.0, -200.0]])
    for sampling in (Sampling(temperature), Sampling(temperature, top_p=0.9)):
        assert chosen(logits.clone(), [sampling], [uniform])[0] in (1, 2)


def test_penalties_are_those_that_their_sources_write() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0, 1.0])
    penalise(logits, Sampling(repetition_penalty=2.0), {0, 1}, [])
    assert logits.tolist() == [1.0, -4.0, 1.0, 1.0]
    penalise(logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), {0}, [2, 2, 3])
    assert logits.tolist() == [1.0, -4.0, 0.0, 0.25]
    penalise(logits, Sampling(logit_bias=((3, -100.0),)), set(), [])
    assert logits.tolist()[3] == -99.75


@settings(deadline=None)
@given(
    st.sampled_from([5e-324, 1e-300, 1e-8, 1e-5, 1.0, 2.0]),
    st.sampled_from([5e-324, 1e-30, 0.5, 1.0]),
    st.sampled_from([0, 1, 10**30]),
    st.lists(
        st.sampled_from([0.0, 1.0, -1e30, 1e30, float("inf"), float("-inf"), float("nan")]),
        min_size=1,
        max_size=300,
    ),
)
def test_nothing_that_is_allowed_breaks_the_choice(
    temperature: float, top_p: float, top_k: int, values: list[float]
) -> None:
    sampling = Sampling(temperature, top_p, top_k)
    token = chosen(torch.tensor([values]), [sampling], [0.999999])[0]
    assert 0 <= token < len(values)
