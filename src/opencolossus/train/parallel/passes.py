"""Forward and backward passes of one step, through one chunk or a pipeline of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from opencolossus.grok.context import Tokens, packed
from opencolossus.grok.model import Grok, Loss
from opencolossus.train.batches import IGNORED, Batch, split
from opencolossus.train.objective import Counts, objective
from opencolossus.train.parallel.collectives import part
from opencolossus.train.parallel.groups import Groups
from opencolossus.train.parallel.network import Network

ROW = 1
"""Axis of tokens in [B, T]."""


def arguments(batch: Batch, groups: Groups) -> dict[str, Tensor]:
    """What a network needs beside the tokens, of this process's part of the rows."""
    if groups.context.size == 1:
        return {"documents": batch.documents}
    keys = packed(batch.documents)
    assert keys.documents is not None  # they are what they were counted from
    return {
        "documents": part(keys.documents, ROW, groups.context),
        "positions": part(keys.positions, ROW, groups.context),
        "key_documents": keys.documents,
        "key_positions": keys.positions,
    }


def call(network: Grok, x: Tensor, targets: Tensor | None, extra: dict[str, Any]) -> Any:
    """Run a network on ``arguments``."""
    extra = dict(extra)
    keys = None
    if "key_positions" in extra:
        keys = Tokens(extra.pop("key_positions"), extra.pop("key_documents"))
    return network(x, targets, keys=keys, **extra)


class Direct:
    """All of the network in this process."""

    def __init__(self, network: Network, groups: Groups) -> None:
        self.whole, self.network, self.groups = network, network.chunks[0], groups

    def train(self, batches: Sequence[Batch], counts: Counts, after: Callable[[], None]) -> Tensor:
        """Backward through all micro-batches; the summed cross-entropy of this process."""
        total = torch.zeros((), device=batches[0].tokens.device)
        for batch in batches:
            loss = self._loss(batch)
            self.whole.before_backward(self.network, last=batch is batches[-1])
            objective(loss, counts).backward()
            after()
            total += loss.total.detach()
        return total

    def evaluate(self, batch: Batch) -> Tensor:
        """The summed cross-entropy of this process."""
        return self._loss(batch).total

    def _loss(self, batch: Batch) -> Loss:
        own = (part(x, ROW, self.groups.context) for x in (batch.tokens, batch.targets))
        tokens, targets = own
        found: Loss = call(self.network, tokens, targets, arguments(batch, self.groups))
        return found


class _Stage(nn.Module):
    """A chunk in the shape that the pipeline passes on: tensors only, each needing gradients."""

    def __init__(self, network: Grok) -> None:
        super().__init__()
        self.network = network
        self.counts = Counts(1, 1)
        self.totals: list[Tensor] = []

    def forward(self, x: Tensor, losses: Tensor | None = None, **extra: Any) -> Any:
        targets = extra.pop("targets")
        if losses is not None:
            extra["losses"] = losses
        out = call(self.network, x, targets if self.network.head is not None else None, extra)
        if isinstance(out, Loss):
            self.totals.append(out.total.detach())
            return objective(out, self.counts)[None]
        hidden, passed = out
        if passed is None:  # dense layers so far; the next chunk still expects a tensor
            passed = hidden.new_zeros(2, dtype=torch.float32) + 0.0 * hidden.float().sum()
        return hidden, passed


class _Pipe(PipelineStage):
    """A stage that tells its network which backward pass is the last of a step."""

    whole: Network

    def backward_maybe_with_nosync(
        self, backward_type: str, bwd_kwargs: dict[str, Any], last_backward: bool = False
    ) -> Any:
        chunk: Grok = self.submod.network  # type: ignore[assignment]
        self.whole.before_backward(chunk, last_backward)
        return super().backward_maybe_with_nosync(backward_type, bwd_kwargs, last_backward)


class Pipeline:
    """1F1B (Narayanan et al. 2019), interleaved where a process holds several chunks (2021)."""

    def __init__(
        self,
        network: Network,
        groups: Groups,
        stages: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.whole, self.groups, self.device, self.stages = network, groups, device, stages
        self._dtype, self._tokens = dtype, 0
        self._chunks = [_Stage(chunk) for chunk in network.chunks]
        self._schedules: dict[tuple[int, int], Any] = {}

    def train(self, batches: Sequence[Batch], counts: Counts, after: Callable[[], None]) -> Tensor:
        """Backward through all micro-batches; the summed cross-entropy of this process."""
        total = self._run(batches, counts, training=True)
        after()
        return total

    def evaluate(self, batch: Batch) -> Tensor:
        """The summed cross-entropy of this process."""
        return self._run(_divided(batch, self.stages), Counts(1, 1), training=False)

    def _run(self, batches: Sequence[Batch], counts: Counts, training: bool) -> Tensor:
        for chunk in self._chunks:
            chunk.counts, chunk.totals = counts, []
        self._tokens = batches[0].tokens.shape[ROW]
        schedule = self._schedule(len(batches), len(batches[0].tokens))
        own = [
            arguments(b, self.groups) | {"targets": part(b.targets, ROW, self.groups.context)}
            for b in batches
        ]
        extra = {name: torch.cat([each[name] for each in own]) for name in own[0]}
        tokens = torch.cat([part(b.tokens, ROW, self.groups.context) for b in batches])
        first, last = self.groups.pipeline.index == 0, self.groups.pipeline.size - 1
        inputs = (tokens,) if first else ()
        target = {"target": tokens} if self.groups.pipeline.index == last else {}
        (schedule.step if training else schedule.eval)(*inputs, **target, **extra)
        totals = [total for chunk in self._chunks for total in chunk.totals]
        return torch.stack(totals).sum() if totals else torch.zeros((), device=self.device)

    def _schedule(self, micro_batches: int, rows: int) -> Any:
        """The schedule for this many micro-batches of this many rows; stages fix their shapes."""
        key = (micro_batches, rows)
        if key not in self._schedules:
            options: dict[str, Any] = {"loss_fn": lambda out, _: out.sum(), "scale_grads": False}
            pipes = self._pipes(rows)
            self._schedules[key] = (
                Schedule1F1B(pipes[0], micro_batches, **options)
                if len(pipes) == 1
                else ScheduleInterleaved1F1B(pipes, micro_batches, **options)
            )
        return self._schedules[key]

    def _pipes(self, rows: int) -> list[Any]:
        line = self.groups.pipeline
        return [
            self._pipe(chunk, line.index + i * line.size, rows)
            for i, chunk in enumerate(self._chunks)
        ]

    def _pipe(self, chunk: _Stage, number: int, rows: int) -> _Pipe:
        """A stage with its shapes named: found out by a trial, they would count in the routers."""
        columns = self._tokens // self.groups.context.size
        own = columns // self.groups.tensor.size
        width = chunk.network.config.width
        tokens = torch.empty(rows, columns, dtype=torch.long, device="meta")
        hidden = torch.empty(rows, own, width, dtype=self._dtype, device="meta")
        between = (hidden.requires_grad_(), torch.empty(2, device="meta", requires_grad=True))
        end = torch.empty(1, device="meta", requires_grad=True)
        pipe = _Pipe(
            chunk,
            number,
            self.stages,
            self.device,
            input_args=(tokens,) if number == 0 else between,
            output_args=(end,) if number == self.stages - 1 else between,
            group=self.groups.pipeline.group,
        )
        pipe.whole = self.whole
        return pipe


def _divided(batch: Batch, ways: int) -> list[Batch]:
    """A batch in equal micro-batches, filled up with rows that have no target."""
    missing = -len(batch.tokens) % ways
    full = Batch(
        torch.cat((batch.tokens, batch.tokens[:1].expand(missing, -1))),
        torch.cat(
            (batch.targets, batch.targets.new_full((missing, batch.targets.shape[1]), IGNORED))
        ),
        torch.cat((batch.documents, batch.documents[:1].expand(missing, -1))),
    )
    return split(full, len(full.tokens) // ways)
