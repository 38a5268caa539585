"""Configuration of Grok-1 and Grok-2 for transformers, in the keys of the public Grok-2 release."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class Grok1Config(PretrainedConfig):
    """Shape and constants of a Grok; caps of 0 mean none, a temperature length of -1 too."""

    # The type of the public release; transformers has no Grok of its own.
    model_type = "git"
    keys_to_ignore_at_inference = ("cache", "past_key_values")

    def __init__(
        self,
        vocab_size: int = 131_072,
        hidden_size: int = 8192,
        intermediate_size: int = 32_768,
        moe_intermediate_size: int = 16_384,
        num_hidden_layers: int = 64,
        num_attention_heads: int = 64,
        num_key_value_heads: int = 8,
        head_dim: int = 128,
        num_local_experts: int = 8,
        num_experts_per_tok: int = 2,
        residual_moe: bool = False,
        norm_topk_prob: bool = False,
        hidden_act: str = "gelu_pytorch_tanh",
        max_position_embeddings: int = 131_072,
        rms_norm_eps: float = 1e-5,
        rope_theta: float = 10_000.0,
        embedding_multiplier_scale: float = 1.0,
        output_multiplier_scale: float = 1.0,
        attn_output_multiplier: float | None = None,
        attn_logit_softcapping: float = 30.0,
        router_logit_softcapping: float = 30.0,
        final_logit_softcapping: float | None = None,
        attn_temperature_len: int = -1,
        router_bias: bool = False,
        initializer_range: float = 0.02,
        use_cache: bool = True,
        tie_word_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.moe_intermediate_size = moe_intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.num_local_experts = num_local_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.residual_moe = residual_moe
        self.norm_topk_prob = norm_topk_prob
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.embedding_multiplier_scale = embedding_multiplier_scale
        self.output_multiplier_scale = output_multiplier_scale
        self.attn_output_multiplier = attn_output_multiplier or head_dim**-0.5
        self.attn_logit_softcapping = attn_logit_softcapping
        self.router_logit_softcapping = router_logit_softcapping
        self.final_logit_softcapping = final_logit_softcapping
        self.attn_temperature_len = attn_temperature_len
        self.router_bias = router_bias
        self.initializer_range = initializer_range
        self.use_cache = use_cache
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
