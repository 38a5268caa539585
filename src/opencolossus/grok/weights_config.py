"""A model's shape as the ``config.json`` that other software reads, and back.

The keys are those of the public Grok-2 release, of ``LlamaConfig`` and of ``MixtralConfig``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model
from opencolossus.specs.public_families import (
    ACTIVATIONS,
    common_values,
    grok_values,
    llama_values,
    mixtral_values,
)

Family = Literal["grok", "llama", "mixtral"]

ARCHITECTURES: dict[str, Family] = {
    "Grok1ForCausalLM": "grok",
    "Grok1ModelForCausalLM": "grok",
    "GrokForCausalLM": "grok",
    "LlamaForCausalLM": "llama",
    "MixtralForCausalLM": "mixtral",
}
"""The classes whose files can be read, by the family whose names they use."""

_PLAIN: dict[str, Any] = {
    "embedding_multiplier": 1.0,
    "output_multiplier": 1.0,
    "attention_multiplier": None,
    "attention_softcap": None,
    "logit_softcap": None,
    "router_softcap": None,
    "attention_temperature_length": None,
    "residual_experts": False,
}
"""What Llama and Mixtral have none of."""


def family(model: Model) -> Family:
    """The public family whose files can hold the model.

    Raises:
        UserError: no family has such a model.
    """
    _refuse(model, {"norm": "rms", "positions": "rope", "gated": True, "latent_attention": None})
    if model.experts:
        _refuse(model, {"biases": False, "shared_experts": 0, "dense_layers": 0})
    if model.norm_placement == "sandwich":
        _refuse(model, {"biases": False})
        return "grok"
    _refuse(model, _PLAIN)
    if model.experts:
        _refuse(model, {"renormalise_gates": True})
    return "mixtral" if model.experts else "llama"


def _refuse(model: Model, wanted: Mapping[str, Any]) -> None:
    for field, value in wanted.items():
        if (have := getattr(model, field)) != value:
            raise UserError(
                f"{model.name!r} cannot be exported: no public class has {field}: {have} together "
                f"with norm_placement: {model.norm_placement}; train with {field}: {value}"
            )


def to_public(model: Model) -> dict[str, Any]:
    """The ``config.json`` of a model, without what only its files know (dtype, token ids)."""
    common = {
        "vocab_size": model.vocabulary,
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_size,
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rope_base,
        "tie_word_embeddings": model.tied_embeddings,
        "hidden_act": ACTIVATIONS[model.activation],
    }
    kind = family(model)
    if kind == "grok":
        return common | _grok_keys(model)
    if kind == "llama":
        return common | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "intermediate_size": model.feed_forward,
            "attention_bias": model.biases,
            "mlp_bias": model.biases,
        }
    return common | {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "intermediate_size": model.expert_feed_forward,
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.experts_per_token,
        "sliding_window": None,
    }


def _grok_keys(model: Model) -> dict[str, Any]:
    dense = model.residual_experts or not model.experts
    return {
        "architectures": ["Grok1ForCausalLM"],
        # A type that every version of transformers knows, as in the public release: SGLang then
        # reads the configuration without running code from the folder.
        "model_type": "git",
        "auto_map": {
            "AutoConfig": "configuration_grok.Grok1Config",
            "AutoModel": "modeling_grok.Grok1Model",
            "AutoModelForCausalLM": "modeling_grok.Grok1ForCausalLM",
            # As which `transformers serve` opens that type.
            "AutoModelForMultimodalLM": "modeling_grok.Grok1ForCausalLM",
        },
        "intermediate_size": model.feed_forward if dense else model.expert_feed_forward,
        "moe_intermediate_size": model.expert_feed_forward,
        "num_local_experts": model.experts,
        "num_experts_per_tok": model.experts_per_token,
        "residual_moe": model.residual_experts,
        "norm_topk_prob": model.renormalise_gates,
        "embedding_multiplier_scale": model.embedding_multiplier,
        "output_multiplier_scale": model.output_multiplier,
        "attn_output_multiplier": model.attention_multiplier or 1 / math.sqrt(model.head_size),
        # Zero says "no cap"; where the key is missing, engines assume 30.
        "attn_logit_softcapping": model.attention_softcap or 0.0,
        "router_logit_softcapping": model.router_softcap or 0.0,
        "final_logit_softcapping": model.logit_softcap,
        "attn_temperature_len": model.attention_temperature_length or -1,
    }


def from_public(config: Mapping[str, Any], name: str) -> Model:
    """The model that a ``config.json`` describes.

    Raises:
        UserError: another class, or an option that is not built here (scaled rotary positions,
            a sliding window), or a key is missing or wrong.
    """
    architecture = (config.get("architectures") or ["none"])[0]
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(f"{name}: architectures is {architecture!r}; it can be one of {known}")
    _refuse_unbuilt(config, name)
    if config.get("attention_bias", False) != config.get("mlp_bias", False):
        raise UserError("attention_bias and mlp_bias differ; they must be the same")
    kind = ARCHITECTURES[architecture]
    try:
        values = common_values(config) | _VALUES[kind](config)
    except KeyError as error:
        raise UserError(f"{name}: the key {error.args[0]!r} is missing") from None
    return Model(name=name, **values)


def _refuse_unbuilt(config: Mapping[str, Any], name: str) -> None:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    for key, value, good in (
        ("rope_scaling", kind, ("default",)),
        ("rope_type", config.get("rope_type") or "original", ("original", "default")),
        ("sliding_window", config.get("sliding_window") or 0, (0,)),
    ):
        if value not in good:
            raise UserError(f"{name}: {key} {value!r} is not built here; it can be {good[0]!r}")


_VALUES = {"grok": grok_values, "llama": llama_values, "mixtral": mixtral_values}


def caveats(model: Model) -> list[str]:
    """Where engines that read the files by their own code compute something else."""
    if family(model) == "mixtral" and model.heads * model.head_size != model.width:
        return ["SGLang cannot load a Mixtral whose heads together are not as wide as the model"]
    if family(model) != "grok":
        return []
    notes = []
    if model.activation != "gelu":
        notes.append(f"SGLang and llama.cpp compute GELU where this model has {model.activation}")
    if not model.experts:
        notes.append("SGLang and llama.cpp cannot load a Grok without experts")
    elif model.router_softcap != 30.0:
        notes.append(f"SGLang caps router logits at 30; this model: {model.router_softcap}")
    if model.renormalise_gates and model.residual_experts:  # else the norm after them cancels it
        notes.append("SGLang does not renormalise the gates of the chosen experts")
    if model.rope_base % 1:
        notes.append("SGLang rounds the base of rotary positions down")
    if model.attention_multiplier is not None:
        notes.append("SGLang scales attention scores by 1/sqrt(head_size)")
    if model.experts and model.activation == "gelu":
        notes.append("vLLM's experts compute SiLU unless opencolossus is installed there (plugin)")
    return notes
