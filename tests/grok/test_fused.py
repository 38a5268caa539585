"""The fused forms against the plain ones: values and gradients, in fp32 and in bf16.

The functions run here as they are written; one test compiles all of them.
"""

from __future__ import annotations

import copy

import pytest
import torch
from families import GROK_1, GROK_2, LLAMA, MIXTRAL, build
from torch import Tensor

from opencolossus.grok import block_attention, fused, kernels
from opencolossus.grok.expert_products import expert_products
from opencolossus.grok.feed_forward import activate
from opencolossus.grok.model import Grok
from opencolossus.grok.scores import HIDDEN, Scoring, attend_eagerly
from opencolossus.specs.model import Model


@pytest.fixture
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused forms, uncompiled: the switch is on where operations ask, off where kernels do."""
    monkeypatch.setattr(fused, "suits", lambda *tensors: True)
    assert not fused.is_on()


def rounded(grok: Grok, dtype: torch.dtype) -> Grok:
    grok = copy.deepcopy(grok)
    for name, parameter in grok.named_parameters():
        if "norm" not in name and "router" not in name:
            parameter.data = parameter.data.to(dtype)
    return grok


def gradients(grok: Grok, tokens: Tensor, documents: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    out = grok.loss(tokens[:, :-1], tokens[:, 1:].contiguous(), documents=documents)
    total = out.total + out.balance + out.z
    return total.detach(), list(torch.autograd.grad(total / tokens.numel(), grok.parameters()))


def far(a: Tensor, b: Tensor) -> float:
    return ((a.float() - b.float()).norm() / b.float().norm().clamp(min=1e-6)).item()


@pytest.mark.parametrize("model", [GROK_1, GROK_2, LLAMA, MIXTRAL], ids=lambda m: m.name)
@pytest.mark.parametrize("packing", [False, True], ids=["whole", "packed"])
def test_the_whole_network(
    model: Model, packing: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(block_attention, "BLOCK", 16)
    grok = build(model)
    tokens = torch.randint(97, (3, 41), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[0] * 40, [0] * 9 + [1] * 31, [0] * 20 + [1] * 20])
    packed = documents if packing else None
    wanted, their_gradients = gradients(grok, tokens, packed)
    request.getfixturevalue("switched_on")
    got, our_gradients = gradients(grok, tokens, packed)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("model", [GROK_1, GROK_2, LLAMA, MIXTRAL], ids=lambda m: m.name)
@pytest.mark.parametrize("packing", [False, True], ids=["whole", "packed"])
def test_in_bf16_it_is_no_further_off(
    model: Model, packing: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Of all experts together: rounding may send a token to another one of the best two."""
    monkeypatch.setattr(block_attention, "BLOCK", 16)
    grok = build(model.model_copy(update={"experts_per_token": model.experts}))
    tokens = torch.randint(97, (3, 41), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[0] * 40, [0] * 9 + [1] * 31, [0] * 20 + [1] * 20])
    packed = documents if packing else None
    exactly = gradients(grok, tokens, packed)[1]
    half_plain = gradients(rounded(grok, torch.bfloat16), tokens, packed)[1]
    request.getfixturevalue("switched_on")
    half_fused = gradients(rounded(grok, torch.bfloat16), tokens, packed)[1]
    for fast, plain, exact in zip(half_fused, half_plain, exactly, strict=True):
        assert far(fast, exact) < 1.5 * far(plain, exact) + 0.005


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("heads", [(4, 4), (4, 1)], ids=["alone", "grouped"])
def test_attention_by_blocks(softcap: float | None, heads: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    (H, N), B, T, K = heads, 2, 150, 16
    q, k, v = (
        torch.randn(B, h, T, K, generator=generator).mul_(2).requires_grad_() for h in (H, N, N)
    )
    first = torch.zeros(B, T, dtype=torch.int32)
    first[1, 70:] = 70
    index = torch.arange(T)
    mask = (index <= index[:, None]) & (index >= first[:, :, None])
    scoring = Scoring(0.5, softcap)
    wanted = attend_eagerly(q, k, v, scoring, mask[:, None], False, None)
    got = block_attention.block_attention(q, k, v, first, 0.5, softcap or 0.0, HIDDEN)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    probe = torch.randn(got.shape, generator=generator)
    for ours, theirs in zip(
        torch.autograd.grad(got, (q, k, v), probe),
        torch.autograd.grad(wanted, (q, k, v), probe),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "counts", [[64, 128, 0, 8], [1, 0, 0, 199], [130, 2, 67, 1], [0, 0, 0, 200]], ids=str
)
@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_experts_in_padded_rows(counts: list[int], activation: str) -> None:
    """Rows that are multiplied too much change nothing, whichever expert they belong to."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 24, generator=generator, requires_grad=True)
    gate, up = (torch.randn(4, 24, 40, generator=generator, requires_grad=True) for _ in range(2))
    down = torch.randn(4, 40, 24, generator=generator, requires_grad=True)
    got = expert_products(x, counts, gate, up, down, activation)
    wanted = torch.cat(
        [
            (activate(rows @ gate[e], activation) * (rows @ up[e])) @ down[e]
            for e, rows in enumerate(x.split(counts))
        ]
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)
    probe = torch.randn(got.shape, generator=generator)
    inputs = (x, gate, up, down)
    for ours, theirs in zip(
        torch.autograd.grad(got, inputs, probe),
        torch.autograd.grad(wanted, inputs, probe, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


def test_tanh_by_a_fraction() -> None:
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float32)
    error = (kernels.tanh(x) - x.double().tanh()).abs()
    assert error.max() < 1e-5
    assert error[x.abs() < 2].max() < 2e-7


def test_compiled_equals_written() -> None:
    """Where there is a compiler; one function stands for all, for each takes seconds."""
    if not fused.available():
        pytest.skip("inductor finds no C++ compiler here")
    products = torch.randn(6, 16, 48, generator=torch.Generator().manual_seed(0)) * 20
    first = torch.zeros(6, 16, dtype=torch.int32)
    first[3:] = 11
    written = kernels.softmax_block(products, first, 0.5, 5.0, HIDDEN)
    fused.switch("on")
    try:
        compiled = kernels.softmax_block(products, first, 0.5, 5.0, HIDDEN)
    finally:
        fused.switch("off")
    for a, b in zip(compiled, written, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(compiled[0].sum(-1) / compiled[1], torch.ones(6, 16))


def test_without_a_compiler_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that cannot be compiled runs as written, and says so once."""

    def broken(function: object) -> object:
        def fail(*args: object) -> object:
            raise torch._dynamo.exc.TorchDynamoException("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    double = fused.small(lambda x: x * 2)
    fused.switch("on")
    try:
        assert double(torch.tensor(3)) == 6
        assert not fused.is_on()
        assert double(torch.tensor(4)) == 8
    finally:
        fused.switch("off")
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "no compiler" in caplog.text


def test_what_is_not_in_the_hosts_memory_goes_to_the_function_itself() -> None:
    asked: list[str] = []

    def fast(x: torch.Tensor) -> torch.Tensor:
        asked.append(x.device.type)
        return x

    twin = fused.twin(fast)(lambda x: x + 1)
    fused.switch("on")
    try:
        for device in ("cpu", "meta"):
            twin(torch.ones(3, device=device))
    finally:
        fused.switch("off")
    assert asked == ["cpu"]


def test_experts_side_by_side_give_the_same_bits_every_time() -> None:
    """Whichever core takes which; a run that goes on must not notice."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 64, generator=generator).bfloat16().requires_grad_()
    gate, up = (torch.randn(4, 64, 96, generator=generator).bfloat16() for _ in range(2))
    down = torch.randn(4, 96, 64, generator=generator).bfloat16().requires_grad_()
    before, runs = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(4):
            out = expert_products(x, [128] * 4, gate, up, down, "gelu")
            runs.append([out, *torch.autograd.grad(out.float().square().sum(), (x, down))])
    finally:
        torch.set_num_threads(before)
    for again in runs[1:]:
        assert all(a.equal(b) for a, b in zip(runs[0], again, strict=True))
