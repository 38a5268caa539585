"""Collectives that gradients flow through.

Each pairs a movement of activations with the opposite movement of their gradients. The objective
is the sum over all ranks of what each computes, so nothing is averaged here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from opencolossus.train.parallel.groups import Group

F = TypeVar("F", bound=Callable[..., Any])


def eager(function: F) -> F:
    """Keep messages out of compiled graphs."""
    kept: F = torch.compiler.disable(function)
    return kept


@eager
def gather(x: Tensor, dim: int, group: Group) -> Tensor:
    """Join the parts of all ranks along ``dim``; gradients are summed and split again."""
    if group.size == 1:
        return x
    out: Tensor = _Gather.apply(x, dim, group)  # type: ignore[no-untyped-call]
    return out


@eager
def scatter_sum(x: Tensor, dim: int, group: Group) -> Tensor:
    """Sum over ranks, of which each keeps its part along ``dim``; gradients are gathered."""
    if group.size == 1:
        return x
    out: Tensor = _ScatterSum.apply(x, dim, group)  # type: ignore[no-untyped-call]
    return out


@eager
def sum_once(x: Tensor, group: Group) -> Tensor:
    """Sum over ranks for a term that every rank then computes alike; gradients pass unchanged.

    Each rank thereby gets the gradient of the term by its own share, as if the term had been
    written down once and not once per rank.
    """
    if group.size == 1:
        return x
    out: Tensor = _SumOnce.apply(x, group)  # type: ignore[no-untyped-call]
    return out


@eager
def exchange(x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
    """Send ``sent[i]`` rows to rank i, get ``received[i]`` rows from it; gradients go back."""
    if group.size == 1:
        return x
    out: Tensor = _Exchange.apply(x, sent, received, group)  # type: ignore[no-untyped-call]
    return out


def part(x: Tensor, dim: int, group: Group) -> Tensor:
    """This rank's equal part along ``dim``."""
    return x if group.size == 1 else x.chunk(group.size, dim)[group.index]


def all_sum(x: Tensor, group: Group) -> Tensor:
    """Sum over ranks, in place, outside the gradient."""
    if group.size > 1:
        dist.all_reduce(x, group=group.group)
    return x


def sum_part(x: Tensor, dim: int, group: Group) -> Tensor:
    """This rank's equal part along ``dim`` of the sum over ranks, outside the gradient.

    Half of what a sum of the whole would move. Gloo has no such sum of its own: ranks exchange
    their parts there, and each adds up what it got.
    """
    if group.size == 1:
        return x
    sent = torch.stack(x.chunk(group.size, dim))
    if dist.get_backend(group.group) == "nccl":
        out = torch.empty_like(sent[0])
        dist.reduce_scatter_tensor(out, sent, group=group.group)
        return out
    got = torch.empty_like(sent)
    dist.all_to_all_single(got, sent, group=group.group)
    # As a sum over a dimension, 16 bits take seven times as long.
    return functools.reduce(torch.add, got.unbind())


def join(x: Tensor, dim: int, group: Group) -> Tensor:
    """Join the parts of all ranks along ``dim``, outside the gradient."""
    if group.size == 1:
        return x
    own = x.contiguous()
    parts = [torch.empty_like(own) for _ in group.ranks]
    if dist.get_backend(group.group) == "nccl":
        dist.all_gather(parts, own, group=group.group)
    else:
        _send_to_all(own, parts, group)
    return torch.cat(parts, dim)


def _send_to_all(own: Tensor, parts: list[Tensor], group: Group) -> None:
    """Fill ``parts`` by plain messages: Gloo's own gathering takes twice as long."""
    parts[group.index] = own
    messages = []
    for index, rank in enumerate(group.ranks):
        if index != group.index:
            messages.append(dist.P2POp(dist.isend, own, rank, group.group))
            messages.append(dist.P2POp(dist.irecv, parts[index], rank, group.group))
    for message in dist.batch_isend_irecv(messages):
        message.wait()


def to_owners(pieces: Tensor, dim: int, group: Group) -> Tensor:
    """Of ``n`` things in pieces [n, ...] along ``dim``, this rank's share of them, whole.

    Each rank becomes the owner of n / ranks of them, rounded up; what is too many is zero.
    """
    if group.size == 1:
        return pieces
    each = -(-len(pieces) // group.size)
    missing = each * group.size - len(pieces)
    sent = torch.cat((pieces, pieces.new_zeros(missing, *pieces.shape[1:]))) if missing else pieces
    got = torch.empty_like(sent, memory_format=torch.contiguous_format)
    dist.all_to_all_single(got, sent.contiguous(), group=group.group)
    return torch.cat(got.split(each), dim)


def from_owners(owned: Tensor, count: int, dim: int, group: Group) -> Tensor:
    """The way back: this rank's pieces of all ``count`` things."""
    if group.size == 1:
        return owned
    sent = torch.cat(owned.chunk(group.size, dim)).contiguous()
    got = torch.empty_like(sent)
    dist.all_to_all_single(got, sent, group=group.group)
    return got[:count]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, group: Group) -> Tensor:
        ctx.dim, ctx.group = dim, group
        return join(x, dim, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return sum_part(grads[0], ctx.dim, ctx.group), None, None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, group: Group) -> Tensor:
        ctx.dim, ctx.group = dim, group
        return sum_part(x, dim, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return join(grads[0], ctx.dim, ctx.group), None, None


class _SumOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        return all_sum(x.clone(), group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _exchange(x, sent, received, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _exchange(grads[0], ctx.received, ctx.sent, ctx.group), None, None, None


def _exchange(x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
    out = x.new_empty((sum(received), *x.shape[1:]))
    dist.all_to_all_single(out, x.contiguous(), received, sent, group=group.group)
    return out
