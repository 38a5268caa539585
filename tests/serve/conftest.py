"""A tiny model with random weights, as a run folder that the trainer's own code wrote."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest
import torch
from servers import MODEL, Parrot, Server, sqlite

from opencolossus.data import tokenizer as tokenizers
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.model import Grok
from opencolossus.serve.api.hub import Options
from opencolossus.serve.engine import Engine
from opencolossus.serve.supervisor import Supervisor
from opencolossus.serve.worker import build_engine
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


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> Grok:
    network = Grok(SHAPE)
    network.init_weights(3)
    # Blocks start near the identity; larger weights make every choice depend on what was read.
    with torch.no_grad():
        for weight in network.blocks.parameters():
            if weight.ndim > 1:
                weight.mul_(3)
    return network.eval()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = ["hello there how are you doing today", "I am fine thank you and you"] * 20
    return tokenizers.train(texts, VOCABULARY)


@pytest.fixture(scope="session")
def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    return [tokenizer.decode_bytes([token]) for token in range(len(tokenizer))]


@pytest.fixture
def engine(model: Grok, token_bytes: list[bytes]) -> Engine:
    return Engine(model, token_bytes, slots=4)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, model: Grok, tokenizer: Tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    store = Store(folder, warn=lambda text: None)
    tensors = {f"weights.{name}": weight for name, weight in model.named_parameters()}
    for name, value in model.state_dict().items():
        if name.endswith("router.bias"):
            tensors[f"buffers.{name}"] = value
    state = State(
        Position(step=7),
        loader={},
        guard={},
        model=SHAPE.model_dump(mode="json"),
        tokenizer=tokenizer.fingerprint,
        dtype="float32",
    )
    store.save(7, tensors, state.to_json())
    store.wait()
    store.close()
    (folder / "description.json").write_text(DESCRIPTION.model_dump_json())
    tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def server(parrot: Parrot, tokenizer: Tokenizer, tmp_path: Path) -> Iterator[Server]:
    """A server whose engine is a parrot."""
    with Server(parrot, tokenizer, sqlite(tmp_path), Options(), MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def real_server(
    run_folder: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with a real engine in a process of its own."""
    build = functools.partial(build_engine, run_folder, 8, 64, "cpu", 1, "fp32")
    url = sqlite(tmp_path_factory.mktemp("database"))
    with Server(Supervisor(build, 64), tokenizer, url, Options(), MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[postgresql.Postgres]:
    """A real PostgreSQL; without one the test is skipped."""
    with postgresql.running() as running:
        yield running
