"""The training run: data, batch, precision, optimiser, schedule, limits."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Precision
from opencolossus.specs.quantities import Fraction, PositiveCount, PositiveDuration, Ratio

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Data(Spec):
    """What to train on."""

    corpus: str | None = None
    """A corpus that a package brings (``chitchat``)."""
    path: Path | None = None
    """A folder or file of .txt, .jsonl (``text``, or chat ``messages``) or Parquet."""
    held_out: Annotated[Fraction, Field(gt=0, lt=1)] = 0.02
    """Share of the documents kept for evaluation."""
    loss: Literal["all", "answers"] = "all"
    """``answers``: chat fine-tuning, with the loss on what the assistant says only."""
    on_bad_line: Literal["stop", "skip"] = "stop"
    """What to do about records that cannot be read; either way they are counted and shown."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.corpus is None) == (self.path is None):
            raise ValueError(
                "give either corpus (for example chitchat) or path (your own folder); "
                "null takes the other away, as in --set run.data.corpus=null"
            )
        return self


class Optimiser(Spec):
    """How weights move."""

    name: Literal["adamw", "muon"] = "adamw"
    """``muon``: Muon for matrices, AdamW for the rest."""
    learning_rate: PositiveFloat = 1e-3
    """Of AdamW."""
    matrix_learning_rate: PositiveFloat = 2e-2
    """Of Muon."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    weight_decay: Ratio = 0.1
    clip: PositiveFloat = 1.0
    """Largest norm of the whole gradient."""


class Schedule(Spec):
    """The learning rate over the run: warm-up, then ``kind``."""

    kind: Literal["cosine", "warmup-stable-decay", "constant"] = "cosine"
    warmup: Fraction = 0.02
    """Share of the steps."""
    decay: Fraction = 0.2
    """Share of the steps at the end, for warmup-stable-decay."""
    final: Fraction = 0.1
    """Last learning rate as a share of the highest."""


class Layout(Spec):
    """How the work is spread over GPUs; the data-parallel size is what remains."""

    tensor_parallel: PositiveInt = 1
    context_parallel: PositiveInt = 1
    pipeline_parallel: PositiveInt = 1
    virtual_stages: PositiveInt = 1
    """Model chunks per pipeline stage (interleaving)."""
    expert_parallel: PositiveInt = 1
    micro_batch: PositiveInt = 1
    """Sequences."""
    zero: Annotated[int, Field(ge=0, le=3)] = 1
    """What data-parallel ranks share: 1 optimiser states, 2 gradients too, 3 weights too (FSDP)."""
    shard_group: NonNegativeInt = 0
    """Ranks that share one copy, the other groups holding replicas of it (HSDP); 0 for all."""
    recompute: Literal["none", "selective", "full"] = "none"


class Run(Spec):
    """One training run."""

    catalog_kind: ClassVar[str | None] = "runs"

    name: str = "unnamed run"
    data: Data | None = None
    """Needed by ``train``; a plan does not read it."""
    tokens: PositiveCount
    """To train on, in all."""
    batch: PositiveCount
    """Tokens per step; rounded to whole sequences."""
    sequence: PositiveInt
    """Tokens per sequence."""
    document: PositiveCount | None = None
    """Tokens of the document that a token stands in, on average, where rows pack several and
    attention stays inside each. ``plan`` takes whole rows if left out; ``train`` counts."""
    precision: Precision = "bf16"
    compile: Literal["auto", "none", "functions", "blocks"] = "auto"
    """What ``train`` compiles: small functions between matrix products (CPU), or whole blocks."""
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    start: date | None = None
    deadline: date | None = None
    time_limit: PositiveDuration | None = None
    """``train`` stops and saves when this is used up; the schedule then ends there too."""
    layout: Layout | None = None
    """Found by ``plan`` if left out."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; the optimum interval if left out."""
    evaluate_every: PositiveInt | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch < self.sequence:
            raise ValueError(
                f"batch ({self.batch:.0f} tokens) must hold at least one sequence "
                f"({self.sequence} tokens)"
            )
        if self.start and self.deadline and self.deadline <= self.start:
            raise ValueError(f"deadline ({self.deadline}) must come after start ({self.start})")
        return self

    def told_data(self) -> Data:
        """What to train on.

        Raises:
            UserError: the description can be planned, but not trained.
        """
        if self.data is None:
            raise UserError(
                "run.data is missing: give run.data.corpus (chitchat), or run.data.path (a folder "
                "of .txt, .jsonl or .parquet)"
            )
        return self.data

    @property
    def batch_sequences(self) -> int:
        """Whole sequences per step, the nearest to ``batch``."""
        return round(self.batch / self.sequence)

    @property
    def steps(self) -> int:
        """Optimiser steps, the last one whole."""
        return math.ceil(self.tokens / (self.batch_sequences * self.sequence))
