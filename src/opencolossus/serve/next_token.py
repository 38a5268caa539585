"""From the logits of a step to the tokens of its answers; the host waits for the device once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from opencolossus.serve.request import TokenLogprob
from opencolossus.serve.running import Running
from opencolossus.serve.sampling import choose, choose_among_all, largest, penalise
from opencolossus.serve.scores import on_host, scored, scores

Chosen = tuple[int, bool, tuple[TokenLogprob, ...]]
"""A token, whether there were numbers to choose it by, and how likely it was, if that was asked."""


def choose_tokens(
    rows: Sequence[Running], logits_BV: torch.Tensor, token_bytes: Sequence[bytes]
) -> list[Chosen]:
    """The next token of every row; changes the logits by the rows' penalties.

    The host waits once, and once more where top-p reaches past the likeliest few.
    """
    best = largest(logits_BV)
    asking = [i for i, row in enumerate(rows) if row.request.logprobs is not None]
    tops = [rows[i].request.logprobs or 0 for i in asking]
    raw = torch.log_softmax(logits_BV[asking], -1) if asking else None
    for i, row in enumerate(rows):
        sampling = row.request.sampling
        if sampling.penalises or sampling.logit_bias:
            penalise(logits_BV[i], sampling, row.prompt_set, row.answer)
    samplings = [row.request.sampling for row in rows]
    uniforms = [row.random.random() for row in rows]
    tokens, unsure = choose(logits_BV, samplings, uniforms)

    def read() -> list[torch.Tensor]:
        asked = () if raw is None else (scores(raw, tokens[asking], max(tops)),)
        return on_host(best, tokens, unsure, *asked)

    found = read()
    if long := [i for i, one in enumerate(found[2].tolist()) if one]:
        tokens[long] = choose_among_all(
            logits_BV[long], [samplings[i] for i in long], [uniforms[i] for i in long]
        )
        found = read()
    said = [int(one) for one in found[1].tolist()]
    told: list[tuple[TokenLogprob, ...]] = [()] * len(rows)
    if asking:
        own = scored(found[3], [said[i] for i in asking], tops, token_bytes)
        for i, one in zip(asking, own, strict=True):
            told[i] = (one,)
    return list(zip(said, map(math.isfinite, found[0].tolist()), told, strict=True))
