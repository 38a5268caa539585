"""The network to train: shape, and the counts that follow from the shape."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs import counts
from opencolossus.specs.base import Spec

NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class LatentAttention(Spec):
    """Multi-head latent attention (DeepSeek-V2, 2024): low-rank queries, keys and values."""

    query_rank: PositiveInt
    key_value_rank: PositiveInt
    rope_head_size: PositiveInt
    value_head_size: PositiveInt


class Model(Spec):
    """A transformer language model, dense or mixture of experts."""

    catalog_kind: ClassVar[str | None] = "models"

    name: str = "unnamed model"
    layers: PositiveInt
    width: PositiveInt
    """Size of the residual stream (d_model)."""
    heads: PositiveInt
    kv_heads: PositiveInt
    """Key and value heads; equal to ``heads`` without grouping."""
    head_size: PositiveInt
    feed_forward: NonNegativeInt = 0
    """Inner size of the dense feed-forward network; 0 where every layer has experts only."""
    gated: bool = True
    """Whether the feed-forward network is ``(act(x W) * x V) U`` instead of ``act(x W) U``."""
    activation: Literal["gelu", "silu", "relu"] = "silu"
    vocabulary: PositiveInt
    context: PositiveInt
    """Longest sequence in tokens."""
    tied_embeddings: bool = False

    experts: NonNegativeInt = 0
    """Routed experts per layer; 0 for a dense model."""
    experts_per_token: NonNegativeInt = 0
    """Experts that each token is sent to (top-k)."""
    expert_feed_forward: NonNegativeInt = 0
    shared_experts: NonNegativeInt = 0
    """Experts of the routed size that see every token."""
    dense_layers: NonNegativeInt = 0
    """Leading layers with the dense feed-forward network instead of experts."""
    residual_experts: bool = False
    """Grok-2: experts and a dense network side by side, (dense + experts) / sqrt(2)."""
    renormalise_gates: bool = False
    """Whether the gates of the chosen experts are rescaled to sum to 1."""

    norm: Literal["rms", "layer"] = "rms"
    norm_placement: Literal["pre", "sandwich"] = "pre"
    """``sandwich``: a second norm after each block, before it is added back (Grok)."""
    norm_epsilon: PositiveFloat = 1e-5
    biases: bool = False
    positions: Literal["rope", "learned"] = "rope"
    rope_base: PositiveFloat = 10_000.0
    latent_attention: LatentAttention | None = None

    embedding_multiplier: PositiveFloat = 1.0
    output_multiplier: PositiveFloat = 1.0
    attention_multiplier: PositiveFloat | None = None
    """Scale of the attention scores; 1/sqrt(head_size) if left out."""
    attention_softcap: PositiveFloat | None = None
    """c in c*tanh(score/c), before the mask (Grok: 30)."""
    router_softcap: PositiveFloat | None = None
    logit_softcap: PositiveFloat | None = None
    """After the output multiplier (Grok-2: 50)."""
    attention_temperature_length: PositiveInt | None = None
    """Grok-2: scores of a query at position p > this are scaled by log(p)/log(this)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads}); "
                f"valid kv_heads are {counts.divisors(self.heads)}"
            )
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise ValueError(
                f"experts_per_token ({self.experts_per_token}) must be between 1 and "
                f"experts ({self.experts})"
            )
        if self.experts and not self.expert_feed_forward:
            raise ValueError("expert_feed_forward must be given for a model with experts")
        if not self.experts and (
            self.experts_per_token or self.shared_experts or self.residual_experts
        ):
            raise ValueError(
                "experts_per_token, shared_experts and residual_experts need experts > 0; "
                "null takes away what a base brought"
            )
        if self.dense_layers > self.layers:
            raise ValueError(f"dense_layers ({self.dense_layers}) exceeds layers ({self.layers})")
        if self._needs_feed_forward and not self.feed_forward:
            raise ValueError("feed_forward must be given for dense layers")
        if self.positions == "rope" and self.head_size % 2:
            raise ValueError(f"head_size ({self.head_size}) must be even for rotary positions")
        return self

    @property
    def _needs_feed_forward(self) -> bool:
        return not self.experts or self.dense_layers > 0 or self.residual_experts

    @property
    def expert_layers(self) -> int:
        """Layers with routed experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def parameters(self) -> int:
        """All trained numbers, embeddings and norms included."""
        return counts.parameters(self)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token passes through: the unchosen experts left out."""
        return counts.active_parameters(self)

    def flops_per_token(self, sequence: int | None = None) -> float:
        """Forward FLOPs of one token, causal attention over ``sequence`` (default: the context)."""
        return counts.forward_flops_per_token(self, sequence or self.context)

    def training_flops_per_token(self, sequence: int | None = None) -> float:
        """Forward and backward FLOPs of one token: three times the forward, no recompute."""
        return 3.0 * self.flops_per_token(sequence)
