"""What holds for every family: counts, causality, packing, pieces of a model."""

from __future__ import annotations

import pytest
import torch
from families import LLAMA, MIXTRAL, build
from torch.utils.flop_counter import FlopCounterMode

from opencolossus.grok.context import Tokens, packed
from opencolossus.grok.model import Grok
from opencolossus.specs.catalog import entry
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import LatentAttention, Model

PUBLISHED = {
    "grok-1": 314e9,  # xai-org/grok-1, README
    "grok-2": 269.5e9,  # the sizes of the released files
    "llama3-8b": 8.03e9,  # model card
    "llama3-405b": 405e9,  # Meta 2024, table 3
    "mixtral-8x7b": 46.7e9,  # Mistral AI 2024, section 2
    "gpt3-175b": 175e9,  # Brown et al. 2020, table 2.1
}


def random_tokens(model: Model, rows: int = 2, length: int = 24, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.vocabulary, (rows, length), generator=generator)


def countable(model: Model) -> Model:
    """With a cap no fused attention is taken, whose products PyTorch does not count on a CPU."""
    return model.model_copy(update={"attention_softcap": 30.0})


def count(network: Grok) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_are_as_many_as_the_spec_counts(model: Model) -> None:
    assert count(Grok(model)) == model.parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_of_hundreds_of_gigabytes_builds_on_the_meta_device(name: str) -> None:
    large = entry("models", name)
    assert isinstance(large, Model)
    with torch.device("meta"):
        network = Grok(large)
    assert count(network) == large.parameters
    assert large.parameters == pytest.approx(PUBLISHED[name], rel=0.006)


@pytest.mark.parametrize("length", [1, 40])
def test_flops_are_those_that_pytorch_counts(model: Model, length: int) -> None:
    """PyTorch counts all T keys of each query; the spec counts (T + 1) / 2 that are visible."""
    grok = build(countable(model))
    tokens = random_tokens(model, rows=2, length=length)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # A mask of its own, so that no path skips the invisible keys.
        grok(tokens, positions=torch.arange(length)[None])
    all_keys = model.flops_per_token(2 * length - 1)
    assert counter.get_total_flops() == pytest.approx(2 * length * all_keys, rel=1e-9)


def test_training_costs_three_times_the_forward_pass(model: Model) -> None:
    grok = build(countable(model))
    tokens = random_tokens(model, rows=2, length=1)
    with FlopCounterMode(display=False) as counter:
        grok(tokens, positions=torch.zeros(1, 1, dtype=torch.long)).sum().backward()
    wanted = 2 * model.training_flops_per_token(1)
    assert counter.get_total_flops() == pytest.approx(wanted, rel=1e-9)


def test_a_model_from_the_meta_device_equals_one_built_in_place(model: Model) -> None:
    with torch.device("meta"):
        late = Grok(model)
    late.to_empty(device="cpu")
    late.init_weights(seed=3)
    early = Grok(model)
    early.init_weights(seed=3)
    for (name, a), (other, b) in zip(
        late.state_dict().items(), early.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b), name
    assert count(late) == model.parameters


def test_seeds_differ_and_repeat(model: Model) -> None:
    a, b, c = Grok(model), Grok(model), Grok(model)
    a.init_weights(seed=1)
    b.init_weights(seed=1)
    c.init_weights(seed=2)
    name = "blocks.1.attention.query.weight"
    assert torch.equal(a.get_parameter(name), b.get_parameter(name))
    assert not torch.equal(a.get_parameter(name), c.get_parameter(name))


def test_first_loss_is_near_that_of_even_odds(grok: Grok, model: Model) -> None:
    tokens = random_tokens(model, rows=4, length=48)
    loss = grok.loss(tokens, tokens.roll(-1, 1))
    mean = (loss.total / loss.tokens).item()
    assert mean == pytest.approx(torch.tensor(model.vocabulary).log().item(), abs=0.7)


def test_a_token_sees_nothing_behind_it(grok: Grok, model: Model) -> None:
    tokens = random_tokens(model)
    changed = tokens.clone()
    changed[:, 15:] = (changed[:, 15:] + 1) % model.vocabulary
    with torch.no_grad():
        a, b = grok(tokens), grok(changed)
    torch.testing.assert_close(a[:, :15], b[:, :15], rtol=0, atol=1e-6)
    assert (a[:, 15:] - b[:, 15:]).abs().max() > 0.01


def test_packed_documents_do_not_see_each_other(grok: Grok, model: Model) -> None:
    tokens = random_tokens(model, rows=1, length=30)
    documents = torch.tensor([[7] * 11 + [9] * 4 + [7] * 15])
    with torch.no_grad():
        together = grok(tokens, documents=documents)
        alone = torch.cat([grok(part) for part in tokens.split([11, 4, 15], dim=1)], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_explicit_positions_and_keys_say_the_same_as_none(grok: Grok, model: Model) -> None:
    tokens = random_tokens(model, rows=2, length=12)
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    where = packed(documents)
    keys = Tokens(where.positions, where.documents)
    with torch.no_grad():
        wanted = grok(tokens, documents=documents)
        got = grok(tokens, positions=where.positions, documents=where.documents, keys=keys)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


def test_select_gives_the_logits_asked_for(grok: Grok, model: Model) -> None:
    tokens = random_tokens(model)
    index = torch.tensor([[3], [20]])
    with torch.no_grad():
        every = grok(tokens)
        some = grok(tokens, select=index)
    torch.testing.assert_close(some[:, 0], every[torch.arange(2), index[:, 0]])


def test_stages_in_a_row_equal_the_whole(grok: Grok, model: Model) -> None:
    tokens = random_tokens(model)
    targets = tokens.roll(-1, 1)
    whole = grok.loss(tokens, targets)
    first, last = Grok(model), Grok(model)
    for stage in (first, last):
        stage.load_state_dict(grok.state_dict())
        stage.eval()
    first.head = first.norm = None
    del first.blocks["1"]
    last.embed = None
    del last.blocks["0"]
    hidden, losses = first(tokens)
    assert hidden.shape == (*tokens.shape, model.width)
    loss = last(hidden, targets, losses=losses)
    for got, wanted in zip(loss, whole, strict=True):
        torch.testing.assert_close(got, wanted)


def test_shapes_that_can_only_be_planned_are_refused() -> None:
    latent = LatentAttention(query_rank=8, key_value_rank=8, rope_head_size=4, value_head_size=8)
    with pytest.raises(UserError, match="latent_attention"):
        Grok(LLAMA.model_copy(update={"latent_attention": latent}))
    with pytest.raises(UserError, match="biases"):
        Grok(MIXTRAL.model_copy(update={"biases": True}))
