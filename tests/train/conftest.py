"""A run small enough for a test: two layers of experts on half a megabyte of real English."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from small_run import small_run

from opencolossus.specs.document import Description
from opencolossus.specs.load import loads


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Python's own language reference, as documents."""
    folder = tmp_path_factory.mktemp("reference")
    lines = [json.dumps({"text": text}) for _, text in sorted(topics.items())]
    (folder / "corpus").mkdir()
    (folder / "corpus" / "topics.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="session")
def describe(corpus) -> Callable[..., Description]:
    """The description of the small run, with overrides like ``run.seed=1``."""
    return lambda *sets: loads(small_run(), "test.yaml", sets, folder=corpus).description


@pytest.fixture(scope="session")
def describe_in() -> Callable[[Path], Description]:
    """The description of the small run on the ``corpus`` of another folder."""
    return lambda folder: loads(small_run(), "test.yaml", (), folder=folder).description


class Heard:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, record: object, share: float, left: float) -> None:
        return None


@pytest.fixture
def heard() -> Heard:
    return Heard()
