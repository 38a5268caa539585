"""Requests of every kind to an engine on a simulated GPU and to one on the CPU, as JSON.

Run by `test_gpu_engine` in a process that has such a GPU.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import torch

import conftest
import simulated_gpu
from opencolossus.grok.model import Grok
from opencolossus.serve import engine as engines
from opencolossus.serve import network
from opencolossus.serve.engine import Engine
from opencolossus.serve.request import Request, Sampling

SAMPLINGS = [
    Sampling(temperature=0.0),
    Sampling(temperature=0.9, seed=1),
    Sampling(temperature=1.1, top_p=0.7, seed=2),
    Sampling(temperature=1.0, top_k=5, seed=3),
    Sampling(temperature=1.2, top_k=350, top_p=0.99, seed=4),
    Sampling(temperature=0.7, repetition_penalty=1.3, seed=5),
    Sampling(temperature=0.8, presence_penalty=0.5, frequency_penalty=0.4, seed=6),
    Sampling(temperature=0.8, logit_bias=((7, 5.0), (9, -100.0)), seed=7),
]


def requests() -> list[Request]:
    """Twice as many as there are slots, of all lengths, some asking for log-probabilities."""
    draw = random.Random(5)
    found = []
    for i, sampling in enumerate(SAMPLINGS * 2):
        prompt = tuple(draw.randrange(6, 400) for _ in range(draw.randint(1, 90)))
        found.append(Request(str(i), prompt, 6 + i, sampling, logprobs=i % 3, user=str(i % 3)))
    found[3] = replace(found[3], prompt_logprobs=True)
    # The beginning of another: its keys and values are used again.
    found[-1] = replace(found[-1], prompt=(*found[0].prompt, 17, 23))
    return found


def built(device: str, dtype: torch.dtype) -> Engine:
    """An engine of 8 slots with random weights that make some tokens much likelier than others."""
    model = Grok(conftest.SHAPE)
    model.init_weights(3)
    with torch.no_grad():
        for weight in model.blocks.parameters():
            if weight.ndim > 1:
                weight.mul_(3)
    words = [bytes([i % 256]) for i in range(conftest.VOCABULARY)]
    return Engine(model, words, slots=8, dtype=dtype, device=device)


def answers(device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Tokens and log-probabilities of every request, and the host's waits in each step."""
    engine = built(device, dtype)
    for request in requests():
        engine.submit(request)
    engine.cancel("5")
    tokens: dict[str, list[int]] = {}
    scores: dict[str, list[float]] = {}
    waits = []
    while engine.busy:
        before = simulated_gpu.waits()
        for delta in engine.step():
            tokens.setdefault(delta.id, []).extend(one.token for one in delta.logprobs)
            told = (*delta.prompt_logprobs, *delta.logprobs)
            scores.setdefault(delta.id, []).extend(one.logprob or 0.0 for one in told)
        waits.append(simulated_gpu.waits() - before)
    return {"tokens": tokens, "scores": scores, "waits": waits}


def waits(sampling: Sampling, logprobs: int | None, echo: bool = False) -> list[int]:
    """How often the host waits in each step that answers four requests of one kind."""
    engine = built("cuda:0", torch.bfloat16)
    for i in range(4):
        prompt = (9, 10 + i)
        engine.submit(Request(str(i), prompt, 5, sampling, logprobs=logprobs, prompt_logprobs=echo))
    found = []
    while engine.busy:
        before = simulated_gpu.waits()
        engine.step()
        found.append(simulated_gpu.waits() - before)
    return found


def main() -> None:
    """Both devices by the same code: the CPU has a faster one of its own."""
    torch.set_num_threads(1)
    network.suits = lambda config: False
    engines.PREFILL_TOKENS = 64  # prompts are read in several pieces
    fp32, bf16 = torch.float32, torch.bfloat16
    runs = {"cpu": answers("cpu", fp32), "gpu": answers("cuda:0", fp32)}
    found = [[waits(sampling, scored) for scored in (None, 0, 5)] for sampling in SAMPLINGS]
    runs |= {"bf16": answers("cuda:0", bf16)}
    print(json.dumps({**runs, "waits": found, "echoed": waits(SAMPLINGS[0], 3, echo=True)}))


if __name__ == "__main__":
    main()
