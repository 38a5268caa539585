"""A network as one process of a layout holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from opencolossus.grok.model import Grok
from opencolossus.grok.router import Router
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout
from opencolossus.train.parallel import apply, data_parallel
from opencolossus.train.parallel.cuts import Cut, cut_of
from opencolossus.train.parallel.groups import Groups
from opencolossus.train.parallel.parts import canonical, materialise, parts


@dataclass(frozen=True)
class Network:
    """Pipeline chunks with parallelism applied, and how their weights are spread."""

    chunks: list[Grok]
    cuts: dict[str, Cut]
    """By the weight's one name."""
    tied_ends: bool
    """Whether first and last stage each hold a copy of the tied embedding."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """All of this process, by their one name."""
        return {
            canonical(name, chunk.config): p
            for chunk in self.chunks
            for name, p in chunk.named_parameters()
        }

    def routers(self) -> dict[str, Router]:
        """By the number of their layer."""
        return {layer: r for chunk in self.chunks for layer, r in chunk.routers().items()}


def build(
    model: Model,
    layout: Layout,
    groups: Groups,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
) -> Network:
    """The network with its first values, on the device, ready to be trained."""
    chunks = parts(model, layout, groups)
    cuts: dict[str, Cut] = {}
    for chunk in chunks:
        materialise(chunk, groups, device, seed)
        apply.apply(chunk, layout, groups)
        cuts |= _shard(chunk, layout, groups, dtype)
    tied_ends = model.tied_embeddings and groups.ends.size > 1
    return Network(chunks, cuts, tied_ends)


def _shard(chunk: Grok, layout: Layout, groups: Groups, dtype: torch.dtype) -> dict[str, Cut]:
    cuts = {name: cut_of(name, groups) for name, _ in chunk.named_parameters()}
    if layout.zero >= 3:
        from opencolossus.train.precision import stays_fp32

        for name, parameter in chunk.named_parameters():
            axis = data_parallel.axis_to_share(parameter.shape, cuts[name])
            cuts[name] = replace(cuts[name], fsdp=None if stays_fp32(name) else axis)
        data_parallel.shard(chunk, cuts, dtype)
    return {canonical(name, chunk.config): cut for name, cut in cuts.items()}
