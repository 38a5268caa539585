"""How likely tokens were: computed on the device, read from there in one go."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from opencolossus.serve.request import TokenLogprob

MOST = 20
"""Alternatives that are looked for where any are asked for: as many for every row, so that what
one request asks for does not change which of two equals another is told."""


def on_host(*parts: torch.Tensor) -> list[torch.Tensor]:
    """Tensors on the CPU; from elsewhere in fp64, which holds fp32 and tokens exactly.

    The host waits once, for all of them: each wait lets a GPU run dry.
    """
    if parts[0].device.type == "cpu":
        return list(parts)
    flat = torch.cat([part.double().flatten() for part in parts]).cpu()
    sizes = [part.numel() for part in parts]
    return [x.view(part.shape) for x, part in zip(flat.split(sizes), parts, strict=True)]


def scores(logprobs_RV: torch.Tensor, tokens_R: torch.Tensor, top: int) -> torch.Tensor:
    """What `scored` reads, on the device.

    Returns:
        [R, 1 + 2 K] in fp64: the log-probability of the token, those of the K likeliest in its
        place, and which these are; K is 0 where ``top`` is.
    """
    own = logprobs_RV.gather(-1, tokens_R[:, None]).double()
    if not top:
        return own
    values, tokens = logprobs_RV.topk(min(max(top, MOST), logprobs_RV.shape[-1]), dim=-1)
    return torch.cat([own, values.double(), tokens.double()], -1)


def scored(
    numbers: torch.Tensor, tokens: Sequence[int], tops: Sequence[int], token_bytes: Sequence[bytes]
) -> list[TokenLogprob]:
    """Tokens with their log-probabilities and those of the ``tops`` likeliest in their place.

    Args:
        numbers: of `scores`, on the CPU.
        tokens: one for each row.
        tops: how many are told of each row.
        token_bytes: what each token of the vocabulary says.
    """
    found, likeliest = [], numbers.shape[-1] // 2
    for row, token, top in zip(numbers.tolist(), tokens, tops, strict=True):
        best = zip(row[1 + likeliest :][:top], row[1:][:likeliest][:top], strict=True)
        named = tuple((int(one), token_bytes[int(one)], value) for one, value in best)
        found.append(TokenLogprob(token, token_bytes[token], row[0], named))
    return found
