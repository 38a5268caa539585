"""Each family of networks on a simulated GPU and on the CPU; prints how far they differ, as JSON.

Run by `test_gpu_network` in a process that has such a GPU.
"""

from __future__ import annotations

import json

import torch
from families import ALL
from torch import Tensor

import simulated_gpu  # noqa: F401
from opencolossus.grok.cache import Cache
from opencolossus.grok.model import Grok
from opencolossus.specs.model import Model

GPU = torch.device("cuda", 0)


def batch(model: Model) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, targets and documents [2, 40]; a document ends in mid-row, some targets count not."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.vocabulary, (2, 40), generator=generator)
    targets = tokens.roll(-1, 1).masked_fill(torch.rand(2, 40, generator=generator) < 0.2, -100)
    documents = torch.zeros(2, 40, dtype=torch.long)
    documents[1, 17:] = 1
    return tokens, targets, documents


def learned(network: Grok, rows: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """The loss and every gradient of it, on the CPU."""
    network.train()
    loss = network.loss(rows[0], rows[1], documents=rows[2])
    (loss.total / loss.tokens + 1e-2 * loss.balance + 1e-3 * loss.z).backward()
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    network.eval()
    return {name: x.detach().cpu() for name, x in {**found, "loss": loss.total}.items()}


@torch.no_grad()
def said(network: Grok, tokens: Tensor) -> Tensor:
    """Logits by a cache: a prompt in two pieces, then token by token."""
    cache = Cache(network.config, 2, dtype=next(network.parameters()).dtype, device=tokens.device)
    parts = []
    for piece in tokens.split([9, 7, *[1] * (tokens.shape[1] - 16)], dim=1):
        parts.append(network(piece, cache=cache.step(range(2), [piece.shape[1]] * 2)))
    return torch.cat(parts, dim=1).cpu()


def off(ours: Tensor, theirs: Tensor, least: float = 1e-9) -> float:
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm().clamp_min(least))


def compare(model: Model) -> dict[str, object]:
    """Relative errors against the CPU, in fp32 and in bf16."""
    rows = batch(model)
    there = tuple(x.to(GPU) for x in rows)
    with torch.device(GPU):
        started = Grok(model)
    started.init_weights(0)
    here = Grok(model)
    here.load_state_dict({name: x.cpu() for name, x in started.state_dict().items()})
    with torch.device(GPU):
        low = Grok(model)
    low.load_state_dict(started.state_dict())
    low.to(torch.bfloat16)
    exact, ours = learned(here, rows), learned(started, there)
    rounded = learned(low, there)
    return {
        "devices": sorted({str(p.device) for p in (*started.parameters(), *started.buffers())}),
        # Some are zero but for rounding: no bias of the keys moves a softmax.
        "gradients": max(off(ours[name], x, least=1e-3) for name, x in exact.items()),
        "cache": off(said(started, there[0]), said(here, rows[0])),
        "bf16 loss": off(rounded["loss"], exact["loss"]),
        "bf16 gradients": all(bool(x.isfinite().all()) for x in rounded.values()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({model.name: compare(model) for model in ALL}))
