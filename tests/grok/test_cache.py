"""Generation with cached keys and values equals the full forward pass."""

from __future__ import annotations

import pytest
import torch

from opencolossus.grok.cache import Cache
from opencolossus.grok.model import Grok
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model

CLOSE = {"rtol": 0, "atol": 2e-5}


@torch.no_grad()
def full(grok: Grok, sequence: list[int]) -> torch.Tensor:
    logits: torch.Tensor = grok(torch.tensor([sequence]))[0]
    return logits


@torch.no_grad()
def feed(grok: Grok, cache: Cache, new: dict[int, list[int]]) -> dict[int, torch.Tensor]:
    """Logits of new tokens by slot, all in one padded batch."""
    counts = [len(tokens) for tokens in new.values()]
    batch = torch.zeros(len(new), max(counts), dtype=torch.long)
    for row, tokens in enumerate(new.values()):
        batch[row, : len(tokens)] = torch.tensor(tokens)
    logits = grok(batch, cache=cache.step(list(new), counts))
    return {slot: logits[row, : counts[row]] for row, slot in enumerate(new)}


def sequence(model: Model, length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.vocabulary, (length,), generator=generator).tolist()


def test_one_token_at_a_time_equals_the_full_pass(grok: Grok, model: Model) -> None:
    tokens = sequence(model, 20, seed=1)
    cache = Cache(model, slots=1, capacity=32)
    pieces = [feed(grok, cache, {0: tokens[:6]})[0]]
    pieces += [feed(grok, cache, {0: [token]})[0] for token in tokens[6:]]
    torch.testing.assert_close(torch.cat(pieces), full(grok, tokens), **CLOSE)
    assert cache.lengths == [20]


def test_requests_of_different_age_share_a_batch(grok: Grok, model: Model) -> None:
    a, b, c = (sequence(model, n, seed=n) for n in (20, 15, 9))
    cache = Cache(model, slots=5, capacity=24)
    feed(grok, cache, {4: a[:12]})
    feed(grok, cache, {1: b[:3], 4: a[12:13]})
    feed(grok, cache, {4: a[13:19], 0: c[:8], 1: b[3:4]})
    last = feed(grok, cache, {0: c[8:], 1: b[4:], 4: a[19:]})
    for slot, tokens in ((0, c), (1, b), (4, a)):
        torch.testing.assert_close(last[slot][-1], full(grok, tokens)[-1], **CLOSE)


def test_a_freed_slot_forgets(grok: Grok, model: Model) -> None:
    cache = Cache(model, slots=1, capacity=24)
    feed(grok, cache, {0: sequence(model, 20, seed=2)})
    cache.free(0)
    tokens = sequence(model, 7, seed=3)
    torch.testing.assert_close(feed(grok, cache, {0: tokens})[0], full(grok, tokens), **CLOSE)


def test_a_shared_beginning_is_kept(grok: Grok, model: Model) -> None:
    tokens = sequence(model, 16, seed=4)
    cache = Cache(model, slots=1, capacity=24)
    feed(grok, cache, {0: tokens[:10] + sequence(model, 5, seed=5)})
    cache.truncate(0, 10)
    got = feed(grok, cache, {0: tokens[10:]})[0]
    torch.testing.assert_close(got, full(grok, tokens)[10:], **CLOSE)
    with pytest.raises(ValueError, match="cannot keep"):
        cache.truncate(0, 17)


def test_past_its_capacity_a_one_layer_model_sees_the_last_tokens(model: Model) -> None:
    """With one layer a key depends on its own token alone, so the window is exact."""
    if model.positions == "learned":
        pytest.skip("learned positions end with the context")
    single = model.model_copy(
        update={"layers": 1, "dense_layers": 0, "attention_temperature_length": None}
    )
    grok = Grok(single)
    grok.init_weights()
    grok.eval()
    tokens = sequence(model, 30, seed=6)
    cache = Cache(single, slots=1, capacity=8)
    for token in tokens:
        last = feed(grok, cache, {0: [token]})[0][-1]
    torch.testing.assert_close(last, full(grok, tokens[-8:])[-1], **CLOSE)
    with pytest.raises(ValueError, match="cannot keep"):
        cache.truncate(0, 4)


def test_too_much_at_once_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match="fit a cache of 8"):
        Cache(model, slots=1, capacity=8).step([0], [9])
    if model.positions == "learned":
        cache = Cache(model, slots=1, capacity=64)
        cache.step([0], [64])
        with pytest.raises(UserError, match="learned positions"):
            cache.step([0], [1])
