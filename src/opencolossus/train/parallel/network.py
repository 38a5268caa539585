"""A network as one process of a layout holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from opencolossus.grok.model import Grok
from opencolossus.grok.router import Router
from opencolossus.specs.model import Model
from opencolossus.train.parallel import apply, data_parallel, float8, recompute
from opencolossus.train.parallel.compiled import compile_blocks
from opencolossus.train.parallel.cuts import Cut, cut_of
from opencolossus.train.parallel.parts import canonical, cut, materialise, parts
from opencolossus.train.parallel.setting import Setting
from opencolossus.train.precision import stays_fp32


@dataclass(frozen=True)
class Network:
    """Pipeline chunks with parallelism applied, and how their weights are spread."""

    chunks: list[Grok]
    cuts: dict[str, Cut]
    """By the weight's one name."""
    tied_ends: bool
    """Whether first and last stage each hold a copy of the tied embedding."""
    zero: int = 0
    """How much of it replicas share."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """All of this process, by their one name."""
        return {
            canonical(name, chunk.config): p
            for chunk in self.chunks
            for name, p in chunk.named_parameters()
        }

    def before_backward(self, chunk: Grok, last: bool) -> None:
        """Say whether the coming backward pass through a chunk is the ``last`` of this step."""
        data_parallel.before_backward(chunk, self.zero, last)

    def forget(self) -> None:
        """Let go of weights gathered from shares, after these have changed."""
        for chunk in self.chunks:
            data_parallel.forget(chunk)

    def routers(self) -> dict[str, Router]:
        """By the number of their layer."""
        return {layer: r for chunk in self.chunks for layer, r in chunk.routers().items()}


def build(model: Model, setting: Setting) -> Network:
    """The network with its first values, on the device, ready to be trained."""
    layout, groups = setting.layout, setting.groups
    chunks = parts(model, layout, groups)
    cuts: dict[str, Cut] = {}
    for chunk in chunks:
        cut(chunk, groups)
        if setting.float8:
            float8.convert(chunk)
        apply.apply(chunk, groups)
        if setting.compiled:
            compile_blocks(chunk)
        recompute.apply(chunk, layout)
        cuts |= _share(chunk, setting)
        materialise(chunk, cuts, setting.device, setting.seed)
    tied_ends = model.tied_embeddings and groups.ends.size > 1
    return Network(chunks, cuts, tied_ends, layout.zero)


def _share(chunk: Grok, setting: Setting) -> dict[str, Cut]:
    cuts = {name: cut_of(name, setting.groups) for name, _ in chunk.named_parameters()}
    zero = setting.layout.zero
    if zero >= 1:
        for name, parameter in chunk.named_parameters():
            axis = data_parallel.axis_to_share(parameter.shape, cuts[name])
            cuts[name] = replace(cuts[name], fsdp=None if stays_fp32(name) else axis)
        data_parallel.shard(chunk, cuts, zero, setting.device, setting.dtype)
    return {canonical(name, chunk.config): cut for name, cut in cuts.items()}
