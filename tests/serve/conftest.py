"""A tiny model and its run, servers with it, and databases."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest
import torch
from servers import MODEL, Parrot, Server, sqlite
from small_grok import DESCRIPTION, SHAPE, VOCABULARY, decided, written

from opencolossus.data import tokenizer as tokenizers
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.model import Grok
from opencolossus.serve.api.hub import Options
from opencolossus.serve.engine import Engine
from opencolossus.serve.supervisor import Supervisor
from opencolossus.serve.worker import build_engine


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> Grok:
    return decided(SHAPE)


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
    return written(tmp_path_factory.mktemp("runs") / "tiny", model, SHAPE, DESCRIPTION, tokenizer)


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
