"""FlexAttention with a soft cap against the definition (on a CPU its forward pass runs)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from opencolossus.grok import flex_attention
from opencolossus.grok.scores import Scoring, attend, attend_eagerly

# Run as it is written, which PyTorch warns of: it forms all scores.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def inputs(T: int = 150) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(2, h, T, 16, generator=generator) * 2 for h in (4, 2, 2)]
    first = torch.zeros(2, T, dtype=torch.int32)
    first[1, 70:] = 70
    index = torch.arange(T)
    mask = (index <= index[:, None]) & (index >= first[:, :, None])
    return tensors, first, mask[:, None]


@pytest.mark.parametrize("softcap", [0.0, 5.0])
def test_it_equals_the_definition(softcap: float) -> None:
    (q, k, v), first, mask = inputs()
    got = flex_attention.flex_attention(q, k, v, first, 0.5, softcap)
    assert got is not None
    wanted = attend_eagerly(q, k, v, Scoring(0.5, softcap or None), mask, False, None)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_temperature_comes_after_the_cap() -> None:
    (q, k, v), first, mask = inputs()
    temperature = torch.linspace(1, 2, 150)[None, None, :, None]
    got = flex_attention.flex_attention(q, k, v, first, 0.5, 5.0, temperature)
    wanted = attend_eagerly(q, k, v, Scoring(0.5, 5.0), mask, False, temperature)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("softcap", "packed", "kernel"),
    [(5.0, False, "flex"), (5.0, True, "flex"), (None, True, "flex"), (None, False, "sdpa")],
)
def test_which_kernel_a_gpu_takes(
    softcap: float | None, packed: bool, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device alone is made up: what is chosen then runs, and gives what the definition does."""
    took: list[str] = []
    flex, sdpa = flex_attention.flex_attention, F.scaled_dot_product_attention

    def note(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *a, **k: took.append(name) or function(*a, **k)  # type: ignore[func-returns-value]

    monkeypatch.setattr(flex_attention, "usable", lambda q: True)
    monkeypatch.setattr(flex_attention, "flex_attention", note("flex", flex))
    monkeypatch.setattr(F, "scaled_dot_product_attention", note("sdpa", sdpa))
    (q, k, v), first, mask = inputs()
    first, mask = (first, mask) if packed else (torch.zeros_like(first), None)
    scoring = Scoring(0.5, softcap)
    got = attend(q, k, v, scoring, mask=mask, causal=True, first=first)
    assert took == [kernel]
    wanted = attend_eagerly(q, k, v, scoring, mask, True, None)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_inside_a_compiled_block() -> None:
    """A block that is compiled as a whole still reaches it."""
    (q, k, v), first, _ = inputs()
    plain = flex_attention.flex_attention(q, k, v, first, 0.5, 5.0)

    @torch.compile(backend="eager")
    def block(q: Tensor) -> Tensor:
        y = flex_attention.flex_attention(q * 1.0, k, v, first, 0.5, 5.0)
        assert y is not None
        return y + 1

    torch.testing.assert_close(block(q), plain + 1)


def test_another_batch_gets_its_own_mask() -> None:
    (q, k, v), first, _ = inputs()
    packed = flex_attention.flex_attention(q, k, v, first, 0.5, 5.0)
    whole = flex_attention.flex_attention(q, k, v, torch.zeros_like(first), 0.5, 5.0)
    assert packed is not None
    assert whole is not None
    torch.testing.assert_close(packed[0], whole[0])
    assert (packed[1, :, 70:] - whole[1, :, 70:]).abs().max() > 0.01


def test_where_it_fails_the_plain_form_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flex_attention, "_failed", False)
    (q, k, v), first, _ = inputs()
    # A gradient is what FlexAttention lacks on a CPU.
    assert flex_attention.flex_attention(q.requires_grad_(), k, v, first, 0.5, 5.0) is None
    assert "FlexAttention does not run here" in caplog.text
    assert flex_attention._failed
