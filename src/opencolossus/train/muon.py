"""Muon: momentum whose update is made orthogonal (Jordan et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, overload

import torch
from torch import Tensor

# a, b, c of the quintic x -> ax + bx^3 + cx^5 that drives singular values towards 1
# (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(M: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices to ``M`` [..., m, n], roughly: singular values 0.7 to 1.2.

    Five Newton-Schulz steps with the coefficients of ``QUINTIC``, computed in the type of ``M``.
    """
    a, b, c = QUINTIC
    tall = M.size(-2) > M.size(-1)
    X = (M.mT if tall else M).reshape(-1, min(M.shape[-2:]), max(M.shape[-2:]))
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        A = torch.bmm(X, X.mT)
        B = torch.baddbmm(A, A, A, beta=b, alpha=c)
        X = torch.baddbmm(X, B, X, beta=a)
    return (X.mT if tall else X).reshape(M.shape)


class Spread(Protocol):
    """Stacks of matrices [n, ...] that lie in pieces on several processes."""

    def collect(self, pieces: Tensor) -> Tensor:
        """Whole matrices: this process's share of the stack."""

    def give_back(self, owned: Tensor, count: int) -> Tensor:
        """This process's pieces of all ``count`` matrices."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for parameters [..., m, n] (leading axes: experts).

    The step of an m x n matrix is scaled by sqrt(max(1, m / n)) as in the original, with weight
    decay decoupled. Matrices of one shape are worked on together.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
        spread: Mapping[Tensor, Spread] | None = None,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self.dtype = dtype
        """Type that the Newton-Schulz steps are computed in; momentum stays in fp32."""
        self.spread = dict(spread or {})
        """How to make the matrices whole that are spread over processes."""

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[object, ...], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[(*p.shape, self.spread.get(p))].append(p)
            for params in alike.values():
                self._move(params, group)
        return None if closure is None else closure()

    def _move(self, params: list[Tensor], group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        grads = [p.grad for p in params if p.grad is not None]
        buffers = [self._buffer(p) for p in params]
        torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
        ahead = torch._foreach_lerp(grads, buffers, momentum)
        stack = torch.stack(ahead)
        spread = self.spread.get(params[0])
        # An orthogonal matrix is not made of orthogonal pieces: each is made whole at one rank.
        whole = spread.collect(stack) if spread else stack
        update = orthogonalise(whole.to(self.dtype))
        rows, columns = update.shape[-2:]
        update = spread.give_back(update, len(stack)) if spread else update
        scale = lr * max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(params, 1.0 - lr * group["weight_decay"])
        torch._foreach_add_(
            params, [u.to(p.dtype) for u, p in zip(update, params, strict=True)], alpha=-scale
        )

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum"]
        return buffer
