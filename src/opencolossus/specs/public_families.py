"""What families of models write into ``config.json``, by the names of our own fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from opencolossus.specs.errors import UserError

Config = Mapping[str, Any]
Values = dict[str, Any]

ACTIVATIONS = {"gelu": "gelu_pytorch_tanh", "silu": "silu", "relu": "relu"}
"""Public names by ours."""


def common_values(config: Config) -> Values:
    """What every family writes under the same keys.

    Raises:
        KeyError: one of the keys is missing.
    """
    heads, width = config["num_attention_heads"], config["hidden_size"]
    rope = config.get("rope_parameters") or {}
    return {
        "vocabulary": config["vocab_size"],
        "width": width,
        "layers": config["num_hidden_layers"],
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_size": config.get("head_dim") or width // heads,
        "context": config["max_position_embeddings"],
        "norm_epsilon": config.get("rms_norm_eps", 1e-5),
        "rope_base": config.get("rope_theta", rope.get("rope_theta", 10_000.0)),
        "tied_embeddings": config.get("tie_word_embeddings", False),
    }


def _activation(config: Config, default: str) -> str:
    public = config.get("hidden_act", default)
    names = {value: key for key, value in ACTIVATIONS.items()} | {"gelu": "gelu"}
    if public not in names:
        raise UserError(f"hidden_act is {public!r}; it can be one of {', '.join(names)}")
    return names[public]


def _experts(config: Config, key: str) -> int:
    """Routed experts under the family's own key, or the one that transformers 5 gives all."""
    count: int = config[key] if key in config else config.get("num_local_experts", 0)
    if not count:
        raise KeyError(key)
    return count


def grok_values(config: Config) -> Values:
    """What Grok-1 and Grok-2 add."""
    experts = config["num_local_experts"]
    residual = config.get("residual_moe", False)
    inner = config["intermediate_size"]
    scale = config.get("attn_output_multiplier")
    usual = scale is None or math.isclose(scale, 1 / math.sqrt(config["head_dim"]), rel_tol=1e-9)
    temperature = config.get("attn_temperature_len", -1)
    return {
        "activation": _activation(config, "gelu_pytorch_tanh"),
        "norm_placement": "sandwich",
        "feed_forward": inner if residual or not experts else 0,
        "experts": experts,
        "experts_per_token": config["num_experts_per_tok"] if experts else 0,
        "expert_feed_forward": config.get("moe_intermediate_size", inner) if experts else 0,
        "residual_experts": residual,
        "renormalise_gates": config.get("norm_topk_prob", False),
        "embedding_multiplier": config["embedding_multiplier_scale"],
        "output_multiplier": config["output_multiplier_scale"],
        "attention_multiplier": None if usual else scale,
        "attention_softcap": config.get("attn_logit_softcapping", 30.0) or None,
        "router_softcap": config.get("router_logit_softcapping", 30.0) or None,
        "logit_softcap": config.get("final_logit_softcapping") or None,
        "attention_temperature_length": temperature if temperature > 0 else None,
    }


def llama_values(config: Config) -> Values:
    """What Llama adds, and all dense families like it."""
    return {
        "activation": _activation(config, "silu"),
        "feed_forward": config["intermediate_size"],
        "biases": config.get("attention_bias", False) and config.get("mlp_bias", False),
    }


def mixtral_values(config: Config) -> Values:
    """What Mixtral adds."""
    return {
        "activation": _activation(config, "silu"),
        "experts": _experts(config, "num_local_experts"),
        "experts_per_token": config["num_experts_per_tok"],
        "expert_feed_forward": config["intermediate_size"],
        "renormalise_gates": True,
    }


def _qwen_moe_values(config: Config) -> Values:
    return {
        "activation": _activation(config, "silu"),
        "experts": _experts(config, "num_experts"),
        "experts_per_token": config["num_experts_per_tok"],
        "expert_feed_forward": config["moe_intermediate_size"],
        "renormalise_gates": config.get("norm_topk_prob", False),
    }


def _deepseek_values(config: Config) -> Values:
    return {
        "activation": _activation(config, "silu"),
        "head_size": config["qk_nope_head_dim"],
        "feed_forward": config["intermediate_size"],
        "experts": _experts(config, "n_routed_experts"),
        "experts_per_token": config["num_experts_per_tok"],
        "expert_feed_forward": config["moe_intermediate_size"],
        "shared_experts": config.get("n_shared_experts") or 0,
        "dense_layers": config.get("first_k_dense_replace", 0),
        "renormalise_gates": config.get("norm_topk_prob", False),
        "latent_attention": {
            "query_rank": config["q_lora_rank"],
            "key_value_rank": config["kv_lora_rank"],
            "rope_head_size": config["qk_rope_head_dim"],
            "value_head_size": config["v_head_dim"],
        },
    }


FAMILIES: dict[str, Callable[[Config], Values]] = {
    "LlamaForCausalLM": llama_values,
    "MistralForCausalLM": llama_values,
    "Phi3ForCausalLM": llama_values,
    "Olmo2ForCausalLM": llama_values,
    "Qwen2ForCausalLM": llama_values,
    "Qwen3ForCausalLM": llama_values,
    "Qwen3MoeForCausalLM": _qwen_moe_values,
    "MixtralForCausalLM": mixtral_values,
    "DeepseekV3ForCausalLM": _deepseek_values,
    "Grok1ForCausalLM": grok_values,
    "Grok1ModelForCausalLM": grok_values,
}
"""The classes whose shape can be planned and trained, more than those whose weights can be read."""
