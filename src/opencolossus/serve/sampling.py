"""Choosing the next token of every sequence in a batch."""

from __future__ import annotations

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
        tokens, counts = torch.unique(
            torch.tensor(answer, device=logits.device), return_counts=True
        )
        logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    for token, bias in sampling.logit_bias:
        logits[token] += bias


def choose(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]
) -> list[int]:
    """Choose one token per row of logits [B, V] (float32), penalties applied already.

    A row's token depends on its own logits, its own sampling and its own uniform number in
    [0, 1) alone: the inverse of its distribution function is taken at that number.
    """
    tokens = [0] * len(samplings)
    greedy = [i for i, s in enumerate(samplings) if s.temperature < COLDEST]
    plain = [i for i, s in enumerate(samplings) if s.temperature >= COLDEST and not s.sorts]
    cut = [i for i, s in enumerate(samplings) if s.temperature >= COLDEST and s.sorts]
    if greedy:
        _fill(tokens, greedy, _likeliest(_rows(logits, greedy)))
    if plain:
        scaled = _scaled(logits, samplings, plain)
        at = _at([uniforms[row] for row in plain], logits)
        _fill(tokens, plain, _inverse(torch.softmax(scaled, -1), at))
    if cut:
        _fill(tokens, cut, _cut(_scaled(logits, samplings, cut), samplings, uniforms, cut))
    return tokens


def largest(logits: torch.Tensor) -> list[float]:
    """The largest of each row; NaN where one of them is."""
    if logits.device.type != "cpu":
        return [float(one) for one in logits.amax(-1).tolist()]
    return [float(one) for one in logits.numpy().max(-1)]  # NumPy's is several times as fast


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    if logits.device.type != "cpu":
        return logits.argmax(-1)
    # NumPy's is ten times as fast; both take the first of equals.
    return torch.from_numpy(logits.numpy().argmax(-1))


def _rows(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
    return logits if len(rows) == logits.shape[0] else logits[rows]


def _fill(tokens: list[int], rows: list[int], chosen: torch.Tensor) -> None:
    for row, token in zip(rows, chosen.tolist(), strict=True):
        tokens[row] = token


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


def _cut(
    scaled: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float], rows: list[int]
) -> torch.Tensor:
    """Top-k, then top-p, then the inverse distribution function over what is left."""
    vocabulary = scaled.shape[-1]
    probabilities = torch.softmax(scaled, -1)
    top_p = torch.tensor([samplings[row].top_p for row in rows], device=scaled.device)
    limits = [min(samplings[row].top_k or vocabulary, vocabulary) for row in rows]
    top_k = torch.tensor(limits, device=scaled.device)
    values, tokens = probabilities.topk(min(SHORT_LIST, vocabulary), dim=-1)
    short = (values.sum(-1) >= top_p) & (top_k == vocabulary) | (top_k <= values.shape[-1])
    chosen = torch.empty_like(top_k)
    # Rows that need the long list go their own way: what one needs shall not change another.
    for where, long in ((short.nonzero()[:, 0], False), ((~short).nonzero()[:, 0], True)):
        if not where.numel():
            continue
        ranked = values[where], tokens[where]
        if long:
            ordered = probabilities[where].sort(dim=-1, descending=True, stable=True)
            ranked = ordered.values, ordered.indices
        at = _at([uniforms[rows[i]] for i in where.tolist()], scaled)
        chosen[where] = _from_ranked(*ranked, top_p[where], top_k[where], vocabulary, at)
    return chosen


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
