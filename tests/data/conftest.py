"""The small corpus, prepared once for the whole session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from corpus_files import make_run, write_corpus

from opencolossus.data.prepare import Prepared, prepare


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(make_run(corpus, held_out=0.1), 400, tmp_path_factory.mktemp("run"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file into a folder of data; returns the folder."""

    def file(name: str, content: str | bytes) -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return file
