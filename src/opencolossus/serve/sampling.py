"""Choosing the next token of every sequence in a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from opencolossus.serve.request import Sampling

COLDEST = 1e-5
"""Temperatures below it take the likeliest token, which is their limit."""
SHORT_LIST = 256
"""Likeliest tokens that top-p looks at before it sorts the whole vocabulary."""


def penalise(logits: torch.Tensor, sampling: Sampling, prompt: set[int], answer: list[int]) -> None:
    """Change one row of logits [V] in place by the penalties and biases of its request."""
    if sampling.repetition_penalty != 1.0 and (prompt or answer):
        seen = torch.tensor(sorted(prompt.union(answer)), device=logits.device)
        values = logits[seen]
        factor = sampling.repetition_penalty
        logits[seen] = torch.where(values > 0, values / factor, values * factor)
    if (sampling.presence_penalty or sampling.frequency_penalty) and answer:
        counted = Counter(answer)  # here, since the host would wait for a GPU that counts
        tokens, counts = (
            torch.tensor(list(x), device=logits.device) for x in (counted, counted.values())
        )
        logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    for token, bias in sampling.logit_bias:
        logits[token] += bias


def choose(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose one token per row of logits [B, V] (float32), penalties applied already.

    A row's token depends on its own logits, its own sampling and its own uniform number in
    [0, 1) alone: the inverse of its distribution function is taken at that number. The host waits
    for nothing here.

    Returns:
        Tokens [B], and which of them are not good [B]: `choose_among_all` has to choose those.
    """
    tokens = torch.zeros(len(samplings), dtype=torch.long, device=logits.device)
    unsure = torch.zeros_like(tokens, dtype=torch.bool)
    greedy = [i for i, s in enumerate(samplings) if s.temperature < COLDEST]
    plain = [i for i, s in enumerate(samplings) if s.temperature >= COLDEST and not s.sorts]
    cut = [i for i, s in enumerate(samplings) if s.temperature >= COLDEST and s.sorts]
    if len(greedy) == len(samplings):
        return _likeliest(logits), unsure
    if greedy:
        tokens[greedy] = _likeliest(logits[greedy])
    if plain:
        scaled = _scaled(logits, samplings, plain)
        at = _at([uniforms[row] for row in plain], logits)
        tokens[plain] = _inverse(torch.softmax(scaled, -1), at)
    if cut:
        wanted = [samplings[row] for row in cut]
        probabilities = torch.softmax(_scaled(logits, samplings, cut), -1)
        at = _at([uniforms[row] for row in cut], logits)
        tokens[cut], unsure[cut] = _cut(probabilities, wanted, at)
    return tokens, unsure


def choose_among_all(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]
) -> torch.Tensor:
    """Choose as `choose` does for rows that top-k and top-p cut, by sorting the whole vocabulary.

    Such a row shall not change how others are computed, nor they it.
    """
    probabilities = torch.softmax(_scaled(logits, samplings, list(range(len(samplings)))), -1)
    values, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    return _from_ranked(values, tokens, *_limits(probabilities, samplings), _at(uniforms, logits))


def largest(logits: torch.Tensor) -> torch.Tensor:
    """The largest of each row; NaN where one of them is."""
    if logits.device.type != "cpu":
        return logits.amax(-1)
    return torch.from_numpy(logits.numpy().max(-1))  # NumPy's is several times as fast


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    if logits.device.type != "cpu":
        return logits.argmax(-1)
    # NumPy's is ten times as fast; both take the first of equals.
    return torch.from_numpy(logits.numpy().argmax(-1))


def _rows(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
    return logits if len(rows) == logits.shape[0] else logits[rows]


def _at(uniforms: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(uniforms, device=like.device, dtype=torch.float32)


def _scaled(logits: torch.Tensor, samplings: Sequence[Sampling], rows: list[int]) -> torch.Tensor:
    temperatures = torch.tensor([samplings[row].temperature for row in rows], device=logits.device)
    picked = _rows(logits, rows)
    # The largest logit becomes 0 first, so that a tiny temperature cannot overflow.
    return (picked - picked.amax(-1, keepdim=True)) / temperatures[:, None]


def _inverse(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    cumulative = probabilities.cumsum(-1)
    target = uniforms[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True)[:, 0]
    # Rounding may carry the target up to the total; the last token that has any weight is meant.
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous(), right=False)[:, 0]
    # What is no number at all has no order; any token is as good as another.
    return torch.minimum(index, last).clamp(max=probabilities.shape[-1] - 1)


def _limits(
    probabilities: torch.Tensor, samplings: Sequence[Sampling]
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Top-p and top-k of every row, and the size of the vocabulary, which is no limit."""
    vocabulary, device = probabilities.shape[-1], probabilities.device
    top_p = torch.tensor([one.top_p for one in samplings], device=device)
    limits = [min(one.top_k or vocabulary, vocabulary) for one in samplings]
    return top_p, torch.tensor(limits, device=device), vocabulary


def _cut(
    probabilities: torch.Tensor, samplings: Sequence[Sampling], uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Top-k, then top-p, then the inverse distribution function over what is left.

    Only the likeliest few are put in order; where that is not enough is told too.
    """
    top_p, top_k, vocabulary = _limits(probabilities, samplings)
    values, tokens = probabilities.topk(min(SHORT_LIST, vocabulary), dim=-1)
    enough = (values.sum(-1) >= top_p) & (top_k == vocabulary) | (top_k <= values.shape[-1])
    return _from_ranked(values, tokens, top_p, top_k, vocabulary, uniforms), ~enough


def _from_ranked(
    values: torch.Tensor,
    tokens: torch.Tensor,
    top_p: torch.Tensor,
    top_k: torch.Tensor,
    vocabulary: int,
    uniforms: torch.Tensor,
) -> torch.Tensor:
    """The inverse distribution function over what is left of tokens [B, R], likeliest first."""
    rank = torch.arange(values.shape[-1], device=values.device)
    kept = torch.where(rank < top_k[:, None], values, 0.0)
    sums = kept.cumsum(-1)
    before = sums - kept
    total = torch.where(top_k[:, None] < vocabulary, sums[:, -1:], 1.0)
    # A token stays while the share before it is short of top_p; the likeliest always stays.
    kept = torch.where((before < top_p[:, None] * total) | (rank == 0), kept, 0.0)
    return tokens.gather(-1, _inverse(kept, uniforms)[:, None])[:, 0]
