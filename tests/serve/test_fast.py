"""The fast arrangement of the network against the network itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.grok.cache import Cache
from opencolossus.grok.model import Grok
from opencolossus.serve.fast import FastGrok, suits
from opencolossus.specs.model import Model

BASE: dict[str, Any] = {
    "layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_size": 8, "activation": "gelu",
    "vocabulary": 60, "context": 40, "experts": 4, "experts_per_token": 2,
    "expert_feed_forward": 24, "norm_placement": "sandwich", "attention_softcap": 30.0,
    "tied_embeddings": True, "embedding_multiplier": 5.6, "output_multiplier": 0.577,
}  # fmt: skip
DENSE: dict[str, Any] = {
    "experts": 0, "experts_per_token": 0, "expert_feed_forward": 0, "feed_forward": 48,
}  # fmt: skip
SHAPES = {
    "grok-1": {},
    "grok-2": {
        "residual_experts": True, "feed_forward": 40, "router_softcap": 30.0,
        "logit_softcap": 50.0, "attention_temperature_length": 5, "tied_embeddings": False,
    },
    "llama": {**DENSE, "norm_placement": "pre", "attention_softcap": None, "activation": "silu"},
    "mixtral": {"norm_placement": "pre", "attention_softcap": None, "renormalise_gates": True},
    "deepseek": {"shared_experts": 1, "dense_layers": 1, "feed_forward": 48, "kv_heads": 4},
}  # fmt: skip


def network(shape: str) -> Grok:
    made = Grok(Model(**{**BASE, **SHAPES[shape]}))
    made.init_weights(1)
    with torch.no_grad():
        for weight in made.blocks.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
        for router in made.routers().values():
            router.bias.normal_(0, 0.1)
    return made.eval()


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_it_gives_the_logits_of_the_network(shape: str, data: st.DataObject) -> None:
    model = network(shape)
    assert suits(model.config, torch.float32, torch.device("cpu"))
    with torch.inference_mode():
        fast = FastGrok(model)
        caches = [Cache(model.config, 5) for _ in range(2)]
        torch.manual_seed(data.draw(st.integers(0, 99)))
        for _ in range(3):
            first = data.draw(st.integers(0, 3))
            rows = range(first, data.draw(st.integers(first + 1, 5)))
            longest = data.draw(st.sampled_from([1, 1, 7, 12]))
            counts = [data.draw(st.integers(1, longest)) for _ in rows]
            tokens = torch.randint(0, 60, (len(rows), max(counts)))
            expected = model(tokens, cache=caches[0].step(rows, counts))
            found = fast(tokens, cache=caches[1].step(rows, counts))
            assert isinstance(expected, torch.Tensor)
            for row, count in enumerate(counts):
                torch.testing.assert_close(
                    found[row, :count], expected[row, :count], atol=2e-4, rtol=1e-4
                )


def test_networks_that_it_does_not_know_are_left_as_they_are() -> None:
    cpu = torch.device("cpu")
    for change in ({"norm": "layer"}, {"positions": "learned"}, {"gated": False}):
        assert not suits(Model(**{**BASE, **change}), torch.float32, cpu)
    assert not suits(Model(**BASE), torch.bfloat16, cpu)
