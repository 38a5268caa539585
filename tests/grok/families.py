"""Small models of each family."""

from __future__ import annotations

import math

from opencolossus.grok.model import Grok
from opencolossus.specs.model import Model

GROK_1 = Model(
    name="small Grok-1",
    layers=2,
    width=64,
    heads=4,
    kv_heads=2,
    head_size=16,
    vocabulary=97,
    context=64,
    activation="gelu",
    experts=8,
    experts_per_token=2,
    expert_feed_forward=88,
    norm_placement="sandwich",
    tied_embeddings=True,
    embedding_multiplier=8.0,
    output_multiplier=1 / math.sqrt(3),
    attention_softcap=30.0,
)
GROK_2 = GROK_1.model_copy(
    update={
        "name": "small Grok-2",
        "residual_experts": True,
        "feed_forward": 96,
        "tied_embeddings": False,
        "output_multiplier": 0.5,
        "logit_softcap": 50.0,
        "router_softcap": 30.0,
        "attention_temperature_length": 16,
        "rope_base": 208_533_496.0,
    }
)
LLAMA = Model(
    name="small Llama",
    layers=2,
    width=64,
    heads=4,
    kv_heads=2,
    head_size=16,
    feed_forward=160,
    vocabulary=97,
    context=64,
    rope_base=500_000.0,
)
MIXTRAL = LLAMA.model_copy(
    update={
        "name": "small Mixtral",
        "feed_forward": 0,
        "experts": 4,
        "experts_per_token": 2,
        "expert_feed_forward": 112,
        "renormalise_gates": True,
    }
)
GPT = Model(
    name="small GPT",
    layers=2,
    width=64,
    heads=4,
    kv_heads=4,
    head_size=16,
    feed_forward=256,
    gated=False,
    activation="gelu",
    norm="layer",
    biases=True,
    positions="learned",
    vocabulary=97,
    context=64,
    tied_embeddings=True,
)
SHARED = MIXTRAL.model_copy(
    update={"name": "shared and dense", "shared_experts": 1, "dense_layers": 1, "feed_forward": 96}
)
ALL = [GROK_1, GROK_2, LLAMA, MIXTRAL, GPT, SHARED]


def build(model: Model, seed: int = 0) -> Grok:
    """A network in evaluation mode with its first weights."""
    network = Grok(model)
    network.init_weights(seed)
    return network.eval()
