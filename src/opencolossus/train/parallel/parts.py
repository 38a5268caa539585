"""The part of a network that one process holds, with nothing larger ever in its memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from opencolossus.grok.initialise import initial
from opencolossus.grok.model import Grok
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout
from opencolossus.train.parallel.cuts import Cut, cut_of
from opencolossus.train.parallel.groups import Groups


def parts(model: Model, layout: Layout, groups: Groups) -> list[Grok]:
    """The pipeline chunks of this process, in order, on the meta device."""
    stages = layout.pipeline_parallel * layout.virtual_stages
    mine = range(groups.place.pipeline, stages, layout.pipeline_parallel)
    return [_chunk(model, stage, stages) for stage in mine]


def _chunk(model: Model, stage: int, stages: int) -> Grok:
    with torch.device("meta"):
        network = Grok(model)
    first, end = (model.layers * s // stages for s in (stage, stage + 1))
    for layer in range(model.layers):
        if not first <= layer < end:
            del network.blocks[str(layer)]
    if stage > 0:
        network.embed = None
    if stage < stages - 1:
        network.norm = None
        network.head = None
    return network


def canonical(name: str, model: Model) -> str:
    """The one name of a weight: a tied head is the embedding, wherever it stands."""
    return "embed.weight" if model.tied_embeddings and name == "head.weight" else name


def cut(part: Grok, groups: Groups) -> None:
    """Cut each weight to the piece that tensor and expert parallelism leave this process."""
    for path, module in part.named_modules():
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            name = canonical(f"{path}.{leaf}", part.config)
            setattr(module, leaf, nn.Parameter(cut_of(name, groups).own(parameter).contiguous()))
    part.tie()


@torch.no_grad()
def materialise(part: Grok, cuts: Mapping[str, Cut], device: torch.device, seed: int) -> None:
    """Give each weight on the meta device its memory and first value: this process's share.

    One whole weight at a time is in memory, never the whole network.

    Args:
        cuts: of all weights, by their one name.
    """
    part.to_empty(device=device)
    part.tie()
    for name, parameter in part.named_parameters():
        name = canonical(name, part.config)
        shape = cuts[name].whole_shape(parameter.shape)
        share = cuts[name].share(initial(name, shape, part.config, seed, device))
        (parameter.to_local() if isinstance(parameter, DTensor) else parameter).copy_(share)
    for buffer in part.buffers():
        buffer.zero_()
