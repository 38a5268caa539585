"""The model and the batch, as the step law sees them."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.specs.model import Model
from opencolossus.step.columns import Array, Columns


@dataclass(frozen=True)
class Shape(Columns):
    """Sizes of the network and of its sequences; counts as floats, so that arrays broadcast."""

    layers: Array
    expert_layers: Array
    """Layers with routed experts, at the end of the stack."""
    width: Array
    heads: Array
    kv_heads: Array
    key_size: Array
    """Per head, of queries and keys in the attention core."""
    value_size: Array
    query_rank: Array
    """Of latent attention; 0 without."""
    kv_rank: Array
    rope_size: Array
    head_size: Array
    feed_forward: Array
    """Inner size of dense layers; 0 without."""
    matrices: Array
    """Matrices of a feed-forward network: 3 gated, 2 plain."""
    experts: Array
    experts_per_token: Array
    expert_feed_forward: Array
    beside_experts: Array
    """Inner size of what every token passes beside its experts: shared experts, a dense network."""
    vocabulary: Array
    embeddings: Array
    """Tables of vocabulary x width: 1 tied, 2 not."""
    predictions: Array
    """Tokens that each position predicts: 1, or more with multi-token prediction, whose modules
    count as layers."""
    rope: Array
    """1 where queries and keys are rotated."""
    norms: Array
    """Per layer: 2, or 4 with sandwich norms."""
    dropout: Array
    """Masks written per layer and token: 1 for the GPT of 2019-2022, 0 for newer models."""
    sequence: Array
    attended: Array
    """Tokens of a document within a packed sequence; attention stays inside."""
    trained: Array
    """Share of the weights that gets gradients: 1, or nearly 0 for LoRA."""
    adapted: Array
    """1 where adapters stand beside all linear layers, 0 where beside those of attention only."""
    neighbours: Array
    """1 where a token's experts have consecutive numbers, as the balanced gates of some benchmarks
    choose them; 0 where they may be any."""

    @staticmethod
    def of(
        model: Model,
        sequence: int,
        attended: float | None = None,
        trained: float = 1.0,
        dropout: float = 0.0,
    ) -> Shape:
        """The shape of ``model`` trained on ``sequence`` tokens at a time.

        Args:
            attended: tokens of a document in a packed sequence; all of it if left out.
            trained: share of the weights that gets gradients.
            dropout: masks per layer and token.
        """
        latent = model.latent_attention
        rope_size = latent.rope_head_size if latent else 0
        beside = model.shared_experts * model.expert_feed_forward
        if model.residual_experts:
            beside += model.feed_forward
        return Shape.make(
            layers=model.layers,
            expert_layers=model.expert_layers,
            width=model.width,
            heads=model.heads,
            kv_heads=model.kv_heads,
            key_size=model.head_size + rope_size,
            value_size=latent.value_head_size if latent else model.head_size,
            query_rank=latent.query_rank if latent else 0,
            kv_rank=latent.key_value_rank if latent else 0,
            rope_size=rope_size,
            head_size=model.head_size,
            feed_forward=model.feed_forward,
            matrices=3 if model.gated else 2,
            experts=model.experts,
            experts_per_token=model.experts_per_token,
            expert_feed_forward=model.expert_feed_forward,
            beside_experts=beside,
            vocabulary=model.vocabulary,
            embeddings=1 if model.tied_embeddings else 2,
            predictions=1,
            rope=1 if model.positions == "rope" else 0,
            norms=4 if model.norm_placement == "sandwich" else 2,
            dropout=dropout,
            sequence=sequence,
            attended=attended or sequence,
            trained=trained,
            adapted=1,
            neighbours=0,
        )


def attention_weights(s: Shape) -> Array:
    """Matrix weights of one attention block (also of latent attention, DeepSeek-V2 eq. 9-19)."""
    plain = s.width * s.head_size * 2 * (s.heads + s.kv_heads)
    latent = (
        s.width * (s.query_rank + s.kv_rank + s.rope_size)
        + s.query_rank * s.heads * s.key_size
        + s.kv_rank * s.heads * (s.head_size + s.value_size)
        + s.heads * s.value_size * s.width
    )
    is_latent = s.kv_rank > 0
    return plain * ~is_latent + latent * is_latent


def dense_weights(s: Shape) -> Array:
    """Matrix weights of the feed-forward network of a dense layer."""
    return s.matrices * s.width * s.feed_forward


def beside_weights(s: Shape) -> Array:
    """Weights that every token of an expert layer passes beside its experts, router included."""
    return s.matrices * s.width * s.beside_experts + s.width * s.experts


def expert_weights(s: Shape) -> Array:
    """Weights of one routed expert."""
    return s.matrices * s.width * s.expert_feed_forward


def layer_weights(s: Shape) -> Array:
    """Weights of all layers without routed experts and norms."""
    dense = (s.layers - s.expert_layers) * dense_weights(s)
    return s.layers * attention_weights(s) + dense + s.expert_layers * beside_weights(s)


def routed_weights(s: Shape) -> Array:
    """Weights of all routed experts of all layers."""
    return s.expert_layers * s.experts * expert_weights(s)


def table_weights(s: Shape) -> Array:
    """Weights of embedding and head."""
    return s.embeddings * s.vocabulary * s.width


def parameters(s: Shape) -> Array:
    """Weights of the whole model, norms and biases left out."""
    return layer_weights(s) + routed_weights(s) + table_weights(s)


def forward_flops_per_token(s: Shape) -> Array:
    """Model FLOPs of one token's forward pass, causal attention over the sequence."""
    routed = s.expert_layers * s.experts_per_token * expert_weights(s)
    matrices = layer_weights(s) + routed + s.vocabulary * s.width
    core = s.layers * s.heads * (s.key_size + s.value_size) * (s.sequence + 1)
    return 2 * matrices + core
