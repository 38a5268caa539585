"""Functions in C++ against those of `kernels.py` that define them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from opencolossus.grok import fused, kernels
from opencolossus.grok.native import build, functions
from opencolossus.grok.scores import HIDDEN

WIDTHS = [5, 16, 48, 83]
"""Less than a vector, one of AVX-512, several, and several with a rest."""
needed = pytest.mark.skipif(functions.library() is None, reason="there is no C++ compiler")


def agree(got: Any, wanted: Any, dtype: torch.dtype) -> None:
    for a, b in zip(_tuple(got), _tuple(wanted), strict=True):
        assert a is not None
        assert a.dtype == b.dtype
        # Both round numbers that differ in their last bits: to neighbours at the worst.
        bound = 1e-4 if a.dtype == torch.float32 else 1 / 128
        torch.testing.assert_close(a, b, rtol=bound, atol=1e-5 if dtype == torch.float32 else 1e-3)


def _tuple(x: Any) -> tuple[Tensor, ...]:
    return x if isinstance(x, tuple) else (x,)


def numbers(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(*shape, generator=generator) * scale).to(dtype)


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", WIDTHS)
def test_norms(width: int, dtype: torch.dtype) -> None:
    x, grad, weight = (numbers(70 + i, width)[:70] for i in range(3))
    x, grad, weight = (x * 3).to(dtype), grad.to(dtype), weight[0].contiguous() + 1
    agree(functions.rms_norm(x, weight, 1e-5), kernels.rms_norm(x, weight, 1e-5), dtype)
    ours = functions.rms_norm_gradient(x, weight, grad, 1e-5)
    agree(ours, kernels.rms_norm_gradient(x, weight, grad, 1e-5), dtype)


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gelu", "silu"])
@pytest.mark.parametrize("width", WIDTHS)
def test_gated_activations(width: int, kind: str, dtype: torch.dtype) -> None:
    both, grad = numbers(9, 2 * width, dtype=dtype, scale=4), numbers(9, width, dtype=dtype)
    both[0, 0], both[1, 1] = 60.0, -60.0
    left, right = both.chunk(2, dim=1)
    plain = {"gelu": kernels.gelu_gated, "silu": kernels.silu_gated}[kind]
    agree(functions.gated(left, right, kind), plain(left, right), dtype)
    gate, up = left.contiguous(), right.contiguous()
    cases: list[tuple[Any, Any, tuple[Any, ...]]] = [
        (functions.gated, lambda *x: plain(*x[:2]), (gate, up, kind)),
        (functions.gated_gradient, kernels.gated_gradient, (gate, up, grad, kind)),
        (functions.gated_gradient_joined, kernels.gated_gradient_joined, (both, grad, kind)),
    ]
    for ours, theirs, arguments in cases:
        agree(ours(*arguments), theirs(*arguments), dtype)


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("softcap", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("keys", [12, 16, 83])
def test_softmax_of_a_block(keys: int, softcap: float, dtype: torch.dtype) -> None:
    products = numbers(4, 12, keys, dtype=dtype, scale=20)
    first = torch.zeros(4, 12, dtype=torch.int32)
    first[1] = keys - 12  # what no query may see before its document
    options = (0.5, softcap, HIDDEN)
    ours = functions.softmax_block(products, first, *options)
    theirs = kernels.softmax_block(products, first, *options)
    agree(ours, theirs, dtype)
    assert ours is not None
    assert not ours[0][1, :, : keys - 12].any()
    grad, dot = numbers(4, 12, keys, dtype=dtype), numbers(4, 12)
    arguments = (products, first, theirs[2], grad, dot, *options)
    gradient = functions.softmax_block_gradient(*arguments)
    agree(gradient, kernels.softmax_block_gradient(*arguments), dtype)


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("softcap", [0.0, 10.0])
@pytest.mark.parametrize("width", WIDTHS)
def test_cross_entropy(width: int, softcap: float, dtype: torch.dtype) -> None:
    logits, counts = numbers(30, width, dtype=dtype, scale=5), torch.ones(30)
    counts[3] = 0
    ours, theirs = logits.clone(), logits.clone()
    lse = functions.cross_entropy_rows(ours, counts, 0.7, softcap)
    agree(lse, kernels.cross_entropy_rows(theirs, counts, 0.7, softcap), dtype)
    agree(ours, theirs, dtype)
    assert not ours[3].any()


@needed
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_comes_through(bad: float) -> None:
    """A guard outside looks for it in the loss and in the gradients."""
    x = numbers(6, 48, dtype=torch.bfloat16)
    x[2, 40] = bad
    norm = functions.rms_norm(x, torch.ones(48), 1e-5)
    lse = functions.cross_entropy_rows(x.clone(), torch.ones(6), 1.0, 0.0)
    assert norm is not None
    assert lse is not None
    for found in (norm[2], lse[2:3]):
        assert not found.isfinite().all()
    assert norm[[0, 1, 3, 4, 5]].isfinite().all()


@needed
@pytest.mark.skipif(platform.machine() != "x86_64", reason="processors of another kind")
@pytest.mark.parametrize("chip", ["x86-64", "haswell", "skylake-avx512", "cooperlake"])
def test_it_is_sound_for_processors_with_less(chip: str) -> None:
    """Without AVX, with AVX2, with AVX-512 and with its products of bf16, but no matrix units."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")))
    flags = [f"-march={chip}" if flag == "-march=native" else flag for flag in build.FLAGS]
    command = [compiler, *flags, "-fsyntax-only", f"-I{build.HERE}", str(functions.SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needed
def test_sums_do_not_depend_on_threads() -> None:
    x, grad = numbers(500, 64), numbers(500, 64, scale=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(functions.rms_norm_gradient(x, torch.ones(64), grad, 1e-5))
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        assert one.equal(three)


def test_what_does_not_fit_is_left_to_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = numbers(4, 6), torch.ones(6)
    assert functions.rms_norm(x.double(), weight, 1e-5) is None
    assert functions.rms_norm(x.T.contiguous().T, weight, 1e-5) is None
    monkeypatch.setattr(functions, "library", lambda: None)
    function: Callable[..., Tensor] = fused.twin(functions.rms_norm)(lambda *x: x[0])
    monkeypatch.setattr(fused, "_on", True)
    assert function(x, weight, 1e-5) is x


def test_without_a_compiler_a_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(source: object) -> None:
        raise build.NoCompilerError("there is no C++ compiler")

    monkeypatch.setattr(functions, "load", fail)
    assert functions.library.__wrapped__() is None
    assert "training is slower: there is no C++ compiler" in caplog.text


@needed
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", WIDTHS)
def test_adding_into_wider_sums(width: int, dtype: torch.dtype) -> None:
    part, sums = numbers(7, width, dtype=dtype), numbers(8, width)[:7].clone()
    wanted = sums + part.float()
    assert functions.add_into(sums, part) is sums
    assert sums.equal(wanted)
