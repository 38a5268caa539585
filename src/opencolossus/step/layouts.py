"""Layouts as arrays: how the work is spread, one entry per layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from opencolossus.specs.run import Layout
from opencolossus.step.columns import Array, Columns

NONE, SELECTIVE, FULL = 0.0, 1.0, 2.0
RECOMPUTE = {"none": NONE, "selective": SELECTIVE, "full": FULL}
ONE_F_ONE_B, ZB_H1, ZB_H2, DUALPIPE = 0.0, 1.0, 2.0, 3.0
SCHEDULES = {"1f1b": ONE_F_ONE_B, "zb-h1": ZB_H1, "zb-h2": ZB_H2, "dualpipe": DUALPIPE}


@dataclass(frozen=True)
class Layouts(Columns):
    """Ranks are numbered tensor first, then context, data, pipeline (Megatron-LM's order).

    What follows from the columns is computed once: most parts of a step ask for it.
    """

    tensor: Array
    context: Array
    pipeline: Array
    virtual: Array
    """Model chunks per pipeline stage."""
    expert: Array
    data: Array
    micro_batch: Array
    """Sequences."""
    batch: Array
    """Sequences per step, over all replicas."""
    zero: Array
    """0-3; 3 shards weights too (FSDP)."""
    recompute: Array
    recompute_share: Array
    """Share of the layers that ``recompute`` holds for; 1 but for what published runs imply."""
    schedule: Array
    expert_tensor: Array
    """Ways that one expert's matrices are split: 1, or as ``tensor``."""
    shard_group: Array
    """Ranks that share states under ZeRO; 0 for all data-parallel ranks."""
    offloaded: Array = field(default_factory=lambda: np.asarray(0.0))
    """Share of the layers whose activations wait in the host's memory for the backward pass, and
    come and go beside the compute of others."""

    @cached_property
    def gpus(self) -> Array:
        """GPUs of each layout."""
        return self.tensor * self.context * self.pipeline * self.data

    @cached_property
    def micro_batches(self) -> Array:
        """Micro-batches that each replica runs per step."""
        return np.ceil(self.batch / (self.data * self.micro_batch) - 1e-9)

    @cached_property
    def replicas(self) -> Array:
        """Ranks that hold the same dense weights: data times context."""
        return self.data * self.context

    @cached_property
    def sharers(self) -> Array:
        """Ranks that dense states are sharded over under ZeRO."""
        return np.minimum(self.replicas, self._largest_group)

    @cached_property
    def expert_replicas(self) -> Array:
        """Ranks that hold the same expert weights."""
        ranks = self.tensor * self.context * self.data
        return np.maximum(ranks / (self.expert * self.expert_tensor), 1.0)

    @cached_property
    def expert_sharers(self) -> Array:
        """Ranks that states of experts are sharded over under ZeRO."""
        return np.minimum(self.expert_replicas, self._largest_group)

    @cached_property
    def _largest_group(self) -> Array:
        return np.where(self.shard_group > 0, self.shard_group, np.inf)

    @staticmethod
    def of(layout: Layout, data: int, batch: int, schedule: str = "1f1b") -> Layouts:
        """One layout as written in a description, with ``data`` replicas of ``batch`` sequences."""
        ep = layout.expert_parallel
        return Layouts.make(
            tensor=layout.tensor_parallel,
            context=layout.context_parallel,
            pipeline=layout.pipeline_parallel,
            virtual=layout.virtual_stages,
            expert=ep,
            data=data,
            micro_batch=layout.micro_batch,
            batch=batch,
            zero=layout.zero,
            recompute=RECOMPUTE[layout.recompute],
            recompute_share=1.0,
            schedule=SCHEDULES[schedule],
            expert_tensor=1 if ep > 1 else layout.tensor_parallel,
            shard_group=layout.shard_group,
        )
