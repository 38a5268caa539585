"""Parameters and FLOPs of a model, counted from its shape.

A product of [m, k] and [k, n] counts 2mkn FLOPs. Attention over T tokens is causal: a query sees
(T + 1) / 2 keys on average. Norms, activations and softmax are left out, as is the convention of
model FLOPs (Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencolossus.specs.model import Model


def divisors(n: int) -> list[int]:
    """All divisors of ``n``, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def attention_weights(model: Model) -> int:
    """Matrix weights of one attention block."""
    latent = model.latent_attention
    if latent is None:
        return model.width * model.head_size * 2 * (model.heads + model.kv_heads)
    key = model.head_size + latent.rope_head_size
    down = model.width * (latent.query_rank + latent.key_value_rank + latent.rope_head_size)
    up_query = latent.query_rank * model.heads * key
    up_key_value = latent.key_value_rank * model.heads * (model.head_size + latent.value_head_size)
    return down + up_query + up_key_value + model.heads * latent.value_head_size * model.width


def feed_forward_weights(model: Model, inner: int) -> int:
    """Matrix weights of one feed-forward network of inner size ``inner``."""
    return (3 if model.gated else 2) * model.width * inner


def _norm_weights(model: Model) -> int:
    per_norm = model.width * (2 if model.norm == "layer" else 1)
    per_layer = (4 if model.norm_placement == "sandwich" else 2) * per_norm
    latent = model.latent_attention
    inside = latent.query_rank + latent.key_value_rank if latent else 0
    return model.layers * (per_layer + inside) + per_norm


def _bias_weights(model: Model) -> int:
    if not model.biases:
        return 0
    attention = model.head_size * (model.heads + 2 * model.kv_heads) + model.width
    ffn = model.feed_forward * (2 if model.gated else 1) + model.width
    return model.layers * (attention + ffn)


def _layer_weights(model: Model, experts: int) -> int:
    """Matrix weights of all layers, with ``experts`` routed experts counted in each."""
    dense = feed_forward_weights(model, model.feed_forward)
    one = feed_forward_weights(model, model.expert_feed_forward)
    routed = (experts + model.shared_experts) * one + model.width * model.experts
    if model.residual_experts:
        routed += dense
    sparse, plain = model.expert_layers, model.layers - model.expert_layers
    return model.layers * attention_weights(model) + sparse * routed + plain * dense


def embedding_weights(model: Model) -> int:
    """Token and position embeddings, and the head where it is not tied."""
    tables = 1 if model.tied_embeddings else 2
    positions = model.context * model.width if model.positions == "learned" else 0
    return tables * model.vocabulary * model.width + positions


def parameters(model: Model) -> int:
    """All trained numbers."""
    layers = _layer_weights(model, model.experts)
    return layers + embedding_weights(model) + _norm_weights(model) + _bias_weights(model)


def active_parameters(model: Model) -> int:
    """Parameters with the experts that a token does not visit left out."""
    return (
        parameters(model)
        - _layer_weights(model, model.experts)
        + _layer_weights(model, model.experts_per_token)
    )


def forward_flops_per_token(model: Model, sequence: int) -> float:
    """Forward FLOPs of one token at ``sequence`` tokens of causal context."""
    matrices = _layer_weights(model, model.experts_per_token) + model.vocabulary * model.width
    latent = model.latent_attention
    key = model.head_size + (latent.rope_head_size if latent else 0)
    value = latent.value_head_size if latent else model.head_size
    attention = model.layers * model.heads * (key + value) * (sequence + 1)
    return 2.0 * matrices + attention
