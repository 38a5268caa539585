"""A tiny model with random weights, as a run folder that the trainer's own code wrote."""

from __future__ import annotations

from pathlib import Path

import torch

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.model import Grok
from opencolossus.specs.document import Description
from opencolossus.specs.model import Model
from opencolossus.specs.run import Data, Run
from opencolossus.train.checkpoint import Store
from opencolossus.train.state import Position, State

CONTEXT = 256
VOCABULARY = 400
SHAPE = Model(
    name="Tiny",
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_size=8,
    activation="gelu",
    vocabulary=VOCABULARY,
    context=CONTEXT,
    tied_embeddings=True,
    experts=4,
    experts_per_token=2,
    expert_feed_forward=32,
    norm_placement="sandwich",
    attention_softcap=30.0,
    embedding_multiplier=6.0,
)
DESCRIPTION = Description(
    name="tiny test run",
    model=SHAPE,
    run=Run(data=Data(corpus="chitchat"), tokens=1024, batch=512, sequence=128),
)


def decided(shape: Model) -> Grok:
    """A network whose every choice depends on what was read: blocks start near the identity."""
    network = Grok(shape)
    network.init_weights(3)
    with torch.no_grad():
        for weight in network.blocks.parameters():
            if weight.ndim > 1:
                weight.mul_(3)
    return network.eval()


def written(
    folder: Path, model: Grok, shape: Model, description: Description, tokenizer: Tokenizer
) -> Path:
    """The folder of a run that ended with these weights."""
    store = Store(folder, warn=lambda text: None)
    tensors = {f"weights.{name}": weight for name, weight in model.named_parameters()}
    for name, value in model.state_dict().items():
        if name.endswith("router.bias"):
            tensors[f"buffers.{name}"] = value
    state = State(
        Position(step=7),
        loader={},
        guard={},
        model=shape.model_dump(mode="json"),
        tokenizer=tokenizer.fingerprint,
        dtype="float32",
    )
    store.save(7, tensors, state.to_json())
    store.wait()
    store.close()
    described = description.model_copy(update={"model": shape})
    (folder / "description.json").write_text(described.model_dump_json())
    tokenizer.save(folder / "tokenizer.json")
    return folder
