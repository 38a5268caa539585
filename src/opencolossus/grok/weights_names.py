"""Where each public tensor lives in our network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from opencolossus.grok.weights_config import Family, family
from opencolossus.specs.model import Model

_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
_DENSE = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
_EXPERT = {"gate": "w1", "down": "w2", "up": "w3"}
_PRE_NORMS = {
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
}
_NORMS: dict[Family, dict[str, str]] = {
    "grok": {
        "attention_norm": "pre_attn_norm",
        "attention_post_norm": "post_attn_norm",
        "feed_forward_norm": "pre_moe_norm",
        "feed_forward_post_norm": "post_moe_norm",
    },
    "llama": _PRE_NORMS,
    "mixtral": _PRE_NORMS,
}


@dataclass(frozen=True)
class Place:
    """One public tensor: its name, our parameter, and which part of it."""

    public: str
    ours: str
    expert: int | None = None
    """Of a stacked parameter [E, in, out]; public expert matrices are [out, in]."""

    def take(self, parameter: Tensor) -> Tensor:
        """The public tensor out of our parameter."""
        return parameter if self.expert is None else parameter[self.expert].T

    @property
    def is_router(self) -> bool:
        """Whether the tensor belongs to a router, which stays in fp32."""
        return ".router." in self.ours


def router_bias(layer: int) -> Place:
    """The bias of the choice of experts, an extra tensor where it was trained with."""
    return Place(
        f"model.layers.{layer}.block_sparse_moe.gate.e_score_correction_bias",
        f"blocks.{layer}.experts.router.bias",
    )


def places(model: Model) -> Iterator[Place]:
    """Every public tensor of a model, layer by layer."""
    kind = family(model)
    yield Place("model.embed_tokens.weight", "embed.weight")
    for layer in range(model.layers):
        yield from _layer(model, kind, layer)
    yield Place("model.norm.weight", "norm.weight")
    # Written for tied models too: SGLang has no notion of tying.
    yield Place("lm_head.weight", "head.weight")


def _layer(model: Model, kind: Family, layer: int) -> Iterator[Place]:
    public, ours = f"model.layers.{layer}", f"blocks.{layer}"
    parts = ("weight", "bias") if model.biases else ("weight",)
    for a, b in _NORMS[kind].items():
        yield Place(f"{public}.{b}.weight", f"{ours}.{a}.weight")
    for a, b in _ATTENTION.items():
        for part in parts:
            yield Place(f"{public}.self_attn.{b}.{part}", f"{ours}.attention.{a}.{part}")
    if not model.experts or model.residual_experts:
        dense = "experts.dense" if model.experts else "feed_forward"
        for a, b in _DENSE.items():
            for part in parts:
                yield Place(f"{public}.mlp.{b}.{part}", f"{ours}.{dense}.{a}.{part}")
    if model.experts:
        sparse = f"{public}.block_sparse_moe"
        yield Place(f"{sparse}.gate.weight", f"{ours}.experts.router.gate.weight")
        for expert in range(model.experts):
            for a, b in _EXPERT.items():
                name = f"{sparse}.experts.{expert}.{b}.weight"
                yield Place(name, f"{ours}.experts.experts.{a}", expert)
