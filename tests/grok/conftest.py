"""Networks of each family for the tests of the room."""

from __future__ import annotations

import pytest
import torch
from families import ALL, GROK_1, build

from opencolossus.grok.model import Grok
from opencolossus.specs.model import Model


@pytest.fixture(params=ALL, ids=lambda model: model.name.replace(" ", "-"))
def model(request: pytest.FixtureRequest) -> Model:
    """Each family in turn."""
    shape: Model = request.param
    return shape


@pytest.fixture
def grok(model: Model) -> Grok:
    """A network of each family, ready to use."""
    return build(model)


@pytest.fixture
def small_grok_1() -> Grok:
    """A network of Grok-1's kind."""
    return build(GROK_1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two OpenMP threads on busy cores wait for each other."""
    torch.set_num_threads(1)
