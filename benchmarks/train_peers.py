"""The models that train_cpu.py and train_gpu.py train: ours and those of others, of one shape.

Every builder gives a function from tokens [B, T + 1] to the mean loss, and the parameters. A peer
that is not installed raises ImportError, and the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencolossus.grok import fused
from opencolossus.grok.model import Grok
from opencolossus.specs.model import Model


@dataclass(frozen=True)
class Job:
    """Shape of the work; by default 8.4 M matrix parameters active per token, in either model."""

    batch: int = 16
    context: int = 256
    vocabulary: int = 8192
    width: int = 256
    layers: int = 8
    heads: int = 4
    dense_inner: int = 688
    experts: int = 8
    top_k: int = 2
    expert_inner: int = 344

    @property
    def tokens(self) -> int:
        """Per step."""
        return self.batch * self.context

    def flops_per_token(self, group: str) -> float:
        """Of forward and backward: 6 per active matrix parameter, attention counted causally."""
        width, inner = self.width, self.dense_inner
        if group == "experts":
            inner = self.top_k * self.expert_inner
        matrices = self.layers * (4 * width**2 + 3 * width * inner) + self.vocabulary * width
        return 6.0 * matrices + 6.0 * self.layers * width * self.context


JOBS = {
    "small": Job(),
    "tiny": Job(2, 32, 128, 64, 2, 2, 96, 4, 2, 48),
    # 0.96 B parameters; and 3.1 B of which 1.3 B are active: what 80 GB hold with fp32 masters.
    "gpu-dense": Job(4, 2048, 32768, 2048, 16, 16, 5632),
    "gpu-experts": Job(2, 2048, 32768, 2560, 24, 20, experts=8, expert_inner=1536),
}
"""By name: what every machine can do in seconds, and what fills one GPU of 80 GB."""


@dataclass
class Contender:
    """A model to train; ``network`` holds its parameters."""

    network: nn.Module
    loss: Callable[[Tensor], Tensor]

    def compile(self) -> Callable[[Tensor], Tensor]:
        """The loss, compiled as a whole."""
        compiled: Callable[[Tensor], Tensor] = torch.compile(self.loss)  # type: ignore[assignment]
        return compiled


class Ours(Contender):
    """Small functions are compiled on a CPU, and blocks on a GPU, as the trainer does."""

    def compile(self) -> Callable[[Tensor], Tensor]:
        """The loss, its parts compiled."""
        if next(self.network.parameters()).device.type == "cpu":
            fused.switch("on")
            return self.loss
        for block in self.network.blocks.values():  # type: ignore[union-attr, operator]
            block.compile()
        return self.loss


def ours_dense(job: Job) -> Contender:
    """A Llama of this project."""
    return _ours(
        Model(
            layers=job.layers,
            width=job.width,
            heads=job.heads,
            kv_heads=job.heads,
            head_size=job.width // job.heads,
            feed_forward=job.dense_inner,
            vocabulary=job.vocabulary,
            context=job.context,
        )
    )


def ours_experts(job: Job) -> Contender:
    """A Grok of this project: sandwich norms, capped attention, router losses."""
    return _ours(
        Model(
            layers=job.layers,
            width=job.width,
            heads=job.heads,
            kv_heads=job.heads,
            head_size=job.width // job.heads,
            vocabulary=job.vocabulary,
            context=job.context,
            experts=job.experts,
            experts_per_token=job.top_k,
            expert_feed_forward=job.expert_inner,
            norm_placement="sandwich",
            activation="gelu",
            attention_softcap=30.0,
            embedding_multiplier=job.width**0.5,
        )
    )


def _ours(model: Model) -> Contender:
    grok = Grok(model)
    grok.init_weights(0)
    grok.train()

    def loss(tokens: Tensor) -> Tensor:
        out = grok.loss(tokens[:, :-1], tokens[:, 1:].contiguous())
        every = tokens.shape[0] * (tokens.shape[1] - 1)
        return (out.total + 1e-2 * out.balance + 1e-3 * out.z) / every

    return Ours(grok, loss)


def hf_llama(job: Job) -> Contender:
    """Hugging Face Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=job.vocabulary,
        hidden_size=job.width,
        intermediate_size=job.dense_inner,
        num_hidden_layers=job.layers,
        num_attention_heads=job.heads,
        num_key_value_heads=job.heads,
        max_position_embeddings=job.context,
        use_cache=False,
        tie_word_embeddings=False,
    )
    return _hugging_face(LlamaForCausalLM(config))


def hf_mixtral(job: Job, experts: str | None = None) -> Contender:
    """Hugging Face Mixtral, its experts computed in the way it is told."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=job.vocabulary,
        hidden_size=job.width,
        intermediate_size=job.expert_inner,
        num_hidden_layers=job.layers,
        num_attention_heads=job.heads,
        num_key_value_heads=job.heads,
        max_position_embeddings=job.context,
        num_local_experts=job.experts,
        num_experts_per_tok=job.top_k,
        output_router_logits=True,
        use_cache=False,
        tie_word_embeddings=False,
    )
    if experts is not None:
        config._experts_implementation = experts
    return _hugging_face(MixtralForCausalLM(config))


def _hugging_face(network: nn.Module) -> Contender:
    network.train()
    return Contender(network, lambda tokens: network(tokens[:, :-1], labels=tokens[:, :-1]).loss)


def litgpt_dense(job: Job) -> Contender:
    """litgpt, Llama blocks."""
    return _litgpt(job, mlp_class_name="LLaMAMLP", intermediate_size=job.dense_inner)


def litgpt_experts(job: Job) -> Contender:
    """litgpt, Mixtral blocks."""
    return _litgpt(
        job,
        mlp_class_name="LLaMAMoE",
        intermediate_size=job.expert_inner,
        moe_intermediate_size=job.expert_inner,
        n_expert=job.experts,
        n_expert_per_token=job.top_k,
    )


def _litgpt(job: Job, **blocks: object) -> Contender:
    from litgpt import GPT, Config

    config = Config(
        name="",
        block_size=job.context,
        vocab_size=job.vocabulary,
        padded_vocab_size=job.vocabulary,
        n_layer=job.layers,
        n_head=job.heads,
        n_query_groups=job.heads,
        n_embd=job.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        **blocks,
    )
    network = GPT(config)
    return _plain(network, lambda tokens: network(tokens))


class Plain(nn.Module):
    """What one writes in an afternoon after reading nanoGPT: GPT-2 blocks around SDPA."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        width = job.width
        self.heads = job.heads
        self.tokens = nn.Embedding(job.vocabulary, width)
        self.positions = nn.Embedding(job.context, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm_1": nn.LayerNorm(width, bias=False),
                    "qkv": nn.Linear(width, 3 * width, bias=False),
                    "out": nn.Linear(width, width, bias=False),
                    "norm_2": nn.LayerNorm(width, bias=False),
                    "up": nn.Linear(width, 4 * width, bias=False),
                    "down": nn.Linear(4 * width, width, bias=False),
                }
            )
            for _ in range(job.layers)
        )
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, job.vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        B, T = tokens.shape
        x = self.tokens(tokens) + self.positions(torch.arange(T, device=tokens.device))
        for block in self.blocks:
            q, k, v = (
                part.view(B, T, self.heads, -1).transpose(1, 2)
                for part in block["qkv"](block["norm_1"](x)).chunk(3, dim=-1)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["out"](y.transpose(1, 2).reshape(B, T, -1))
            x = x + block["down"](F.gelu(block["up"](block["norm_2"](x))))
        out: Tensor = self.head(self.norm(x))
        return out


def plain(job: Job) -> Contender:
    """The nanoGPT-like model."""
    network = Plain(job)
    return _plain(network, lambda tokens: network(tokens))


def _plain(network: nn.Module, logits: Callable[[Tensor], Tensor]) -> Contender:
    def loss(tokens: Tensor) -> Tensor:
        return F.cross_entropy(logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    return Contender(network, loss)


BUILDERS: dict[str, dict[str, Callable[[Job], Contender]]] = {
    "dense": {
        "this project": ours_dense,
        "nanoGPT-like": plain,
        "Hugging Face Llama": hf_llama,
        "litgpt Llama": litgpt_dense,
    },
    "experts": {
        "this project": ours_experts,
        "Hugging Face Mixtral": hf_mixtral,
        "Hugging Face Mixtral, grouped": lambda job: hf_mixtral(job, "grouped_mm"),
        "litgpt Mixtral": litgpt_experts,
    },
}


def batches(job: Job, device: torch.device, seed: int = 0) -> Iterator[Tensor]:
    """Random tokens, new ones in every step, so that experts never see the same loads twice."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        tokens = torch.randint(job.vocabulary, (job.batch, job.context + 1), generator=generator)
        yield tokens.to(device)
