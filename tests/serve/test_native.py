"""The compiled network: equal to `Grok`, and the same bits in any company."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.grok.model import Grok
from opencolossus.grok.native import build
from opencolossus.grok.native.build import NoCompilerError
from opencolossus.serve.native.build import library
from opencolossus.serve.native.network import NativeNetwork
from opencolossus.serve.native.pack import suits
from opencolossus.serve.network import TorchNetwork, open_network
from opencolossus.specs.model import Model

CPU = torch.device("cpu")
BASE: dict[str, Any] = {
    "layers": 2, "width": 40, "heads": 4, "kv_heads": 2, "head_size": 10, "activation": "gelu",
    "vocabulary": 70, "context": 100, "experts": 4, "experts_per_token": 2,
    "expert_feed_forward": 24, "norm_placement": "sandwich", "attention_softcap": 30.0,
    "tied_embeddings": True, "embedding_multiplier": 5.6, "output_multiplier": 0.577,
}  # fmt: skip
DENSE: dict[str, Any] = {
    "experts": 0, "experts_per_token": 0, "expert_feed_forward": 0, "feed_forward": 48,
}  # fmt: skip
SHAPES = {
    "grok-1": {},
    "grok-2": {
        "residual_experts": True, "feed_forward": 40, "router_softcap": 30.0,
        "logit_softcap": 50.0, "attention_temperature_length": 5, "tied_embeddings": False,
    },
    "llama": {**DENSE, "norm_placement": "pre", "attention_softcap": None, "activation": "silu"},
    "mixtral": {"norm_placement": "pre", "attention_softcap": None, "renormalise_gates": True},
    "deepseek": {
        "shared_experts": 1, "dense_layers": 1, "feed_forward": 48, "kv_heads": 4,
        "activation": "relu",
    },
}  # fmt: skip

try:
    library()
except NoCompilerError as error:
    pytest.skip(str(error), allow_module_level=True)


def network(shape: str = "grok-2") -> Grok:
    made = Grok(Model(**{**BASE, **SHAPES[shape]}))
    made.init_weights(1)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in made.blocks.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
        for router in made.routers().values():
            router.bias.normal_(0, 0.1)
    return made.eval()


def native(
    model: Grok, dtype: torch.dtype = torch.float32, threads: int = 1, slots: int = 9
) -> NativeNetwork:
    return NativeNetwork(model, slots, model.config.context, dtype, threads)


def text(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 70, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_it_gives_the_logits_of_the_network(shape: str, data: st.DataObject) -> None:
    model = network(shape)
    with torch.inference_mode():
        reference = TorchNetwork(model, 5, 100, torch.float32, CPU)
        compiled = native(model, slots=5)
        for _ in range(3):
            first = data.draw(st.integers(0, 3))
            count = data.draw(st.integers(1, 5 - first))
            longest = data.draw(st.sampled_from([1, 1, 7, 30]))
            pieces = [text(data.draw(st.integers(1, longest)), i) for i in range(count)]
            whole = data.draw(st.booleans())
            expected = reference.logits(first, pieces, whole)
            found = compiled.logits(first, pieces, whole)
            torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
            assert compiled.lengths == reference.lengths
            left, right = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
            for one in (reference, compiled):
                one.swap(left, right)
                one.copy(left, right, one.lengths[left] // 2)


def test_weights_in_bf16_give_what_rounded_weights_give() -> None:
    model = network()
    found = native(model, torch.bfloat16).logits(0, [text(20)], whole=True)
    rounded = network()
    with torch.no_grad():
        for name, weight in rounded.named_parameters():
            if weight.ndim > 1 and "router" not in name:
                weight.copy_(weight.bfloat16())
    expected = TorchNetwork(rounded, 1, 100, torch.float32, CPU).logits(0, [text(20)], whole=True)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def alone(model: Grok, dtype: torch.dtype) -> torch.Tensor:
    """All logits of one text, read in one piece with nobody else there."""
    return native(model, dtype).logits(0, [text(60)], whole=True)


def in_company(compiled: NativeNetwork) -> torch.Tensor:
    others = [text(1 + 7 * i, 10 + i) for i in range(7)]
    pieces = [*others[:3], text(60), *others[3:]]
    return compiled.logits(0, pieces, whole=True)[sum(map(len, others[:3])) :][:60]


def token_by_token(compiled: NativeNetwork) -> torch.Tensor:
    return torch.cat([compiled.logits(4, [[token]]) for token in text(60)])


def in_growing_company(compiled: NativeNetwork) -> torch.Tensor:
    """As in continuous batching: slots are exchanged, and others come and go."""
    out, tokens = [], text(60)
    for start in range(0, 60, 4):
        others = start // 8
        compiled.swap(0, others)
        pieces = [[start]] * others + [tokens[start : start + 4]]
        out.append(compiled.logits(0, pieces, whole=True)[others:])
        compiled.swap(0, others)
    return torch.cat(out)


def after_a_shared_beginning(compiled: NativeNetwork) -> torch.Tensor:
    first = compiled.logits(2, [text(60)[:25] + text(30, 99)], whole=True)[:25]
    compiled.copy(2, 2, 25)
    return torch.cat([first, compiled.logits(2, [text(60)[25:]], whole=True)])


def after_a_beginning_of_another_slot(compiled: NativeNetwork) -> torch.Tensor:
    first = compiled.logits(2, [text(60)[:25] + text(30, 99)], whole=True)[:25]
    compiled.logits(5, [text(80, 7)])
    compiled.swap(2, 6)
    compiled.copy(6, 5, 25)
    compiled.logits(6, [text(20, 8)])  # the other one goes on
    return torch.cat([first, compiled.logits(5, [text(60)[25:]], whole=True)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", ["grok-2", "llama"])
@pytest.mark.parametrize(
    "way",
    [
        in_company,
        token_by_token,
        in_growing_company,
        after_a_shared_beginning,
        after_a_beginning_of_another_slot,
    ],
)
def test_a_text_gets_the_same_bits_however_it_is_read(
    way: Callable[[NativeNetwork], torch.Tensor], shape: str, threads: int, dtype: torch.dtype
) -> None:
    model = network(shape)
    assert torch.equal(way(native(model, dtype, threads)), alone(model, dtype))


def test_networks_that_it_does_not_know_are_left_to_pytorch() -> None:
    for change in ({"norm": "layer"}, {"positions": "learned"}, {"gated": False}):
        assert not suits(Model(**{**BASE, **change}))
    model = Grok(Model(**{**BASE, **DENSE, "norm": "layer"}))
    assert isinstance(open_network(model, 1, 10, torch.float32, CPU), TorchNetwork)


def test_without_a_compiler_pytorch_computes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library.cache_clear()
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = open_network(network(), 1, 10, torch.float32, CPU)
    library.cache_clear()
    assert isinstance(found, TorchNetwork)
    assert "the network is not compiled" in caplog.text
    assert list((tmp_path / "opencolossus").iterdir()) == []


def test_what_was_compiled_is_found_again_and_not_trusted_to_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    library()
    (made,) = (tmp_path / "opencolossus").iterdir()
    library.cache_clear()
    monkeypatch.setattr(build, "_compile", None)
    library()
    made.parent.chmod(0o777)
    library.cache_clear()
    with pytest.raises(TypeError):  # it would be compiled anew, elsewhere
        library()
    library.cache_clear()
