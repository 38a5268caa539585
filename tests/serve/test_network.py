"""`Grok` by PyTorch, in the precision that a GPU is given."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from opencolossus.grok.model import Grok
from opencolossus.serve import engine as engines
from opencolossus.serve.engine import Engine
from opencolossus.serve.network import TorchNetwork
from opencolossus.serve.request import Delta, Request, Sampling

CPU = torch.device("cpu")


def text(length: int, seed: int = 0) -> list[int]:
    return [random.Random(seed + i).randrange(6, 400) for i in range(length)]


@torch.inference_mode()
def test_in_bf16_routers_stay_exact_and_logits_near(model: Grok) -> None:
    before = {name: copy.deepcopy(r.state_dict()) for name, r in model.routers().items()}
    rounded = TorchNetwork(copy.deepcopy(model), 2, 100, torch.bfloat16, CPU)
    assert rounded._model.head.weight.dtype == torch.bfloat16
    for name, router in rounded._model.routers().items():
        for key, value in router.state_dict().items():
            assert torch.equal(value, before[name][key]), key
    exact = TorchNetwork(copy.deepcopy(model), 2, 100, torch.float32, CPU)
    pieces = [text(40), text(7, 50)]
    found, expected = rounded.logits(0, pieces), exact.logits(0, pieces)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, expected).min() > 0.99


def test_an_engine_in_bf16_answers_a_crowd(
    model: Grok, token_bytes: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(
        model: Grok, slots: int, context: int, dtype: torch.dtype, device: torch.device
    ) -> TorchNetwork:
        return TorchNetwork(copy.deepcopy(model), slots, context, dtype, device)

    monkeypatch.setattr(engines, "open_network", network)
    engine = Engine(model, token_bytes, slots=3, dtype=torch.bfloat16)
    likely = Sampling(temperature=0.0, repetition_penalty=1.3, logit_bias=((9, 2.0),))
    drawn = Sampling(temperature=0.8, top_p=0.9, top_k=50, seed=3)
    requests = [
        Request(str(i), tuple(text(5 + 9 * i, i)), 4 + i, (likely, drawn)[i % 2], logprobs=2)
        for i in range(7)
    ]
    for request in requests:
        engine.submit(request)
    out: dict[str, list[Delta]] = {}
    while engine.busy:
        for delta in engine.step():
            out.setdefault(delta.id, []).append(delta)
    for request in requests:
        said = out[request.id]
        assert sum(delta.tokens for delta in said) == request.max_tokens
        assert said[-1].finish == "length"
        assert all(scored.logprob is not None for delta in said for scored in delta.logprobs)
    assert engine.running == 0
