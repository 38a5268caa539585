"""The device that is meant, on machines with none, one and two GPUs."""

from __future__ import annotations

import re

import pytest
import torch

from opencolossus.serve.devices import find
from opencolossus.specs.errors import UserError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    count = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("gpus", "asked", "found"),
    [
        (0, None, "cpu"),
        (0, "cpu", "cpu"),
        (1, None, "cuda:0"),
        (1, "cpu", "cpu"),
        (1, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
    indirect=["gpus"],
)
def test_a_gpu_is_taken_where_there_is_one(gpus: None, asked: str | None, found: str) -> None:
    assert find(asked) == found


@pytest.mark.parametrize(
    ("gpus", "asked", "said"),
    [
        (0, "cuda", "--device cuda: there is no GPU that PyTorch can use; give cpu"),
        (0, "cuda:0", "--device cuda:0: there is no GPU that PyTorch can use; give cpu"),
        (1, "cuda:3", "--device cuda:3: PyTorch sees cuda:0 here; give no more than that, or cpu"),
        (2, "cuda:2", "--device cuda:2: PyTorch sees cuda:0 to cuda:1 here"),
        (1, "mps", "--device mps is unknown; give cpu, cuda, or a GPU such as cuda:0"),
        (1, "cuda:-1", "--device cuda:-1 is unknown"),
        (1, "cuda:", "--device cuda: is unknown"),
        (0, "", "--device  is unknown"),
    ],
    indirect=["gpus"],
)
def test_what_is_not_there_is_one_sentence(gpus: None, asked: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        find(asked)
