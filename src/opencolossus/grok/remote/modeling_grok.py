"""Grok-1 and Grok-2 for transformers, and through it for vLLM's Transformers backend.

Module names are those of the public Grok-2 release. Blocks follow the rules of vLLM's backend:
attention goes through the attention interface, experts are a module named ``experts`` that takes
indices and weights. There experts compute SiLU unless
the plugin in ``opencolossus.serve.vllm_plugin`` is installed beside vLLM.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_grok import Grok1Config

CACHE = "cache" if hasattr(CausalLMOutputWithPast, "cache") else "past_key_values"
"""What transformers calls the cache: the short name since 5.24."""


class Grok1RMSNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return (self.weight.float() * wide).to(x.dtype)


def rotary_tables(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, T, head_dim] in fp32; made anew, so that nothing is stored."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim
    angles = positions[..., None].float() * theta**-exponents
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of each head [B, H, T, head_dim] against each other, in fp32."""
    wide = x.float()
    first, second = wide.chunk(2, dim=-1)
    turned = wide * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]
    return turned.to(x.dtype)


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    temperature: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Scores, cap, temperature, mask, softmax: in this order."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)).float() * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if temperature is not None:
        scores = scores * temperature
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class Grok1Attention(nn.Module):
    def __init__(self, config: Grok1Config, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.attn_output_multiplier
        self.softcap = config.attn_logit_softcapping or None
        self.is_causal = True
        inner = config.num_attention_heads * self.head_dim
        inner_kv = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner_kv, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner_kv, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        cache: Cache | None,
        temperature: Tensor | None,
        **kwargs: Any,
    ) -> Tensor:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = rotate(self.q_proj(hidden_states).view(shape).transpose(1, 2), *position_embeddings)
        key = rotate(self.k_proj(hidden_states).view(shape).transpose(1, 2), *position_embeddings)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        if temperature is not None:
            if self.config._attn_implementation != "eager":
                raise ValueError("attn_temperature_len needs attn_implementation='eager'")
            kwargs["temperature"] = temperature
        # vLLM reads this source: one look-up into a name, and one call of that name.
        attend = ALL_ATTENTION_FUNCTIONS.get(
            self.config._attn_implementation, eager_attention_forward
        )
        out, _ = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=0.0,
            softcap=self.softcap,
            **kwargs,
        )
        return self.o_proj(out.reshape(*hidden_states.shape[:-1], -1).contiguous())


class Grok1MLP(nn.Module):
    def __init__(self, config: Grok1Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Grok1Expert(nn.Module):
    def __init__(self, config: Grok1Config) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.moe_intermediate_size, bias=False)
        self.w2 = nn.Linear(config.moe_intermediate_size, config.hidden_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, config.moe_intermediate_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(self.act_fn(self.w1(x)) * self.w3(x))


class Grok1Experts(nn.ModuleList):
    def __init__(self, config: Grok1Config) -> None:
        super().__init__(Grok1Expert(config) for _ in range(config.num_local_experts))

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Weighted sum [N, D] of the chosen experts' outputs."""
        out = torch.zeros_like(hidden_states)
        for number, expert in enumerate(self):
            row, choice = torch.where(top_k_index == number)
            if row.numel():
                weight = top_k_weights[row, choice, None].to(hidden_states.dtype)
                out.index_add_(0, row, expert(hidden_states[row]) * weight)
        return out


class Grok1Router(nn.Module):
    """No nn.Linear: vLLM puts layers of its own in their place, and these have no choice bias."""

    def __init__(self, config: Grok1Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_local_experts, config.hidden_size))
        nn.init.normal_(self.weight, std=0.02)
        if config.router_bias:
            self.e_score_correction_bias = nn.Parameter(torch.zeros(config.num_local_experts))
        else:
            self.e_score_correction_bias = None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight)


class Grok1SparseMoeBlock(nn.Module):
    def __init__(self, config: Grok1Config) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.softcap = config.router_logit_softcapping or None
        self.renormalise = config.norm_topk_prob
        self.gate = Grok1Router(config)
        self.experts = Grok1Experts(config)

    def forward(self, hidden_states: Tensor) -> Tensor:
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        logits = self.gate(rows).float()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        # Over all experts, then the best: the gates do not sum to 1 unless renormalised.
        gates = F.softmax(logits, dim=-1)
        bias = self.gate.e_score_correction_bias
        chosen = torch.topk(gates if bias is None else gates + bias, self.top_k, dim=-1).indices
        weights = gates.gather(-1, chosen)
        if self.renormalise:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return self.experts(rows, chosen, weights).view_as(hidden_states)


class Grok1DecoderLayer(nn.Module):
    def __init__(self, config: Grok1Config, layer_idx: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Grok1Attention(config, layer_idx)
        sparse = config.num_local_experts > 0
        self.block_sparse_moe = Grok1SparseMoeBlock(config) if sparse else None
        self.mlp = Grok1MLP(config) if config.residual_moe or not sparse else None
        self.pre_attn_norm = Grok1RMSNorm(width, eps)
        self.post_attn_norm = Grok1RMSNorm(width, eps)
        self.pre_moe_norm = Grok1RMSNorm(width, eps)
        self.post_moe_norm = Grok1RMSNorm(width, eps)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        attended = self.self_attn(self.pre_attn_norm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.post_attn_norm(attended)
        fed = self._feed_forward(self.pre_moe_norm(hidden_states))
        return hidden_states + self.post_moe_norm(fed)

    def _feed_forward(self, x: Tensor) -> Tensor:
        if self.block_sparse_moe is None:
            return self.mlp(x)
        out = self.block_sparse_moe(x)
        return out if self.mlp is None else (out + self.mlp(x)) / math.sqrt(2)


class Grok1PreTrainedModel(PreTrainedModel):
    config_class = Grok1Config
    base_model_prefix = "model"
    _no_split_modules = ("Grok1DecoderLayer",)
    _skip_keys_device_placement = ("cache", "past_key_values")
    _keep_in_fp32_modules_strict = ("block_sparse_moe.gate",)
    # PyTorch's fused attention has no soft cap; transformers then takes the eager one.
    _supports_sdpa = False
    _supports_attention_backend = True


class Grok1Model(Grok1PreTrainedModel):
    def __init__(self, config: Grok1Config) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Grok1DecoderLayer(config, i) for i in range(config.num_hidden_layers)
        )
        self.norm = Grok1RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        cache = past_key_values if cache is None else cache
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if position_ids is None:
            seen = cache.get_seq_length() if cache is not None else 0
            steps = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)
            position_ids = (steps + seen)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **{CACHE: cache},
        )
        shared = {
            "position_embeddings": rotary_tables(
                position_ids, self.config.head_dim, self.config.rope_theta
            ),
            "attention_mask": mask,
            "cache": cache,
            "temperature": self._temperature(position_ids),
        }
        hidden_states = inputs_embeds * self.config.embedding_multiplier_scale
        for layer in self.layers:
            hidden_states = layer(hidden_states, **shared, **kwargs)
        # The multiplier stands before the head, so that an engine with its own head and cap
        # (multiplier first, cap second) needs to know of the cap alone.
        hidden_states = self.norm(hidden_states) * self.config.output_multiplier_scale
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, **{CACHE: cache})

    def _temperature(self, position_ids: Tensor) -> Tensor | None:
        """Grok-2: log(position) / log(length) past the length, [B, 1, T, 1]."""
        length = self.config.attn_temperature_len
        if length <= 0:
            return None
        position = position_ids.float()
        factor = position.clamp(min=1).log() / math.log(length)
        return torch.where(position > length, factor, 1.0)[:, None, :, None]


class Grok1ForCausalLM(Grok1PreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: Grok1Config) -> None:
        super().__init__(config)
        self.model = Grok1Model(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=past_key_values if cache is None else cache,
            inputs_embeds=inputs_embeds,
            use_cache=self.config.use_cache if use_cache is None else use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        cap = self.config.final_logit_softcapping
        if cap:
            logits = cap * torch.tanh(logits / cap)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: getattr(outputs, CACHE)})
