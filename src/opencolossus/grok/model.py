"""The language model: embedding, blocks, norm, head.

Shape suffixes: B rows, T tokens of a row (queries), S keys, N tokens of all rows (or key heads),
D width, H query heads, K head size, F inner size, E experts, J chosen experts, M = N * J, V
vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from opencolossus.grok.block import Block
from opencolossus.grok.context import CacheStep, Context, Tokens, build_context
from opencolossus.grok.embedding import Embedding
from opencolossus.grok.head import Head, TokenLoss
from opencolossus.grok.initialise import initialise
from opencolossus.grok.norms import build_norm
from opencolossus.grok.router import Router
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model


class Loss(NamedTuple):
    """Sums over the tokens of a batch; the trainer divides by the global counts."""

    total: Tensor
    """Cross entropy in nats over the tokens that count."""
    tokens: Tensor
    """How many count: their target is not -100."""
    balance: Tensor
    """Router balance, summed over all tokens and layers; 0 for a dense model."""
    z: Tensor
    """Router z-loss, likewise."""


class Grok(nn.Module):
    """A causal language model of the shape that ``config`` says: Grok-1, Grok-2, Llama, Mixtral...

    Parallelism is applied from outside. Any part may be removed for a pipeline stage: without
    ``embed`` the input is the hidden state of the stage before, without ``norm`` and ``head`` the
    output is that for the next.
    """

    embed: Embedding | None
    norm: nn.Module | None
    head: Head | None

    def __init__(self, config: Model) -> None:
        super().__init__()
        check(config)
        self.config = config
        self.embed = Embedding(config)
        self.blocks = nn.ModuleDict({str(i): Block(config, i) for i in range(config.layers)})
        self.norm = build_norm(config)
        self.head = Head(config)
        self.tie()

    def tie(self) -> None:
        """Make the head's weight the embedding's where the model says so.

        To be called again after parameters were replaced (``to_empty``).
        """
        if self.config.tied_embeddings and self.embed is not None and self.head is not None:
            self.head.weight = self.embed.weight

    def init_weights(self, seed: int = 0) -> None:
        """Fill every parameter with what training starts from; see `initialise`."""
        self.tie()
        initialise(self, self.config, seed)

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        *,
        losses: Tensor | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        keys: Tokens | None = None,
        key_mask: Tensor | None = None,
        cache: CacheStep | None = None,
        select: Tensor | None = None,
    ) -> Tensor | Loss | tuple[Tensor, Tensor | None]:
        """Logits, the loss where targets are given, or what the next pipeline stage needs.

        Args:
            tokens: ids [B, T]; the hidden state [B, T, D] on a stage without ``embed``.
            targets: ids [B, T] of the tokens to predict, -100 where none counts.
            losses: router losses [2] of earlier stages.
            positions, documents, keys, key_mask, cache: see `build_context`.
            select: indices [B, R] of the tokens to give logits for; all if left out.

        Returns:
            Logits [B, T or R, V]; a `Loss`; or on a stage without ``head`` the pair of hidden
            state [B, T, D] and router losses [2] (None while no layer had experts).
        """
        B, T = tokens.shape[:2]
        context = build_context(
            self.config,
            (B, T),
            tokens.device,
            positions=positions,
            documents=documents,
            keys=keys,
            key_mask=key_mask,
            cache=cache,
        )
        x_BTD, losses = self._hidden(tokens, context, losses)
        if self.head is None:
            return x_BTD, losses
        if select is not None:
            x_BTD = x_BTD.gather(1, select[..., None].expand(-1, -1, x_BTD.shape[-1]))
        x_BTD = x_BTD if self.norm is None else self.norm(x_BTD)
        if targets is None:
            logits: Tensor = self.head(x_BTD)
            return logits
        token_loss: TokenLoss = self.head(x_BTD, targets)
        losses = token_loss.total.new_zeros(2) if losses is None else losses
        return Loss(*token_loss, *losses.unbind())

    def loss(self, tokens: Tensor, targets: Tensor, *, documents: Tensor | None = None) -> Loss:
        """The loss of a batch of (packed) documents."""
        out = self(tokens, targets, documents=documents)
        assert isinstance(out, Loss)  # what forward gives with targets and a head
        return out

    @torch.no_grad()
    def routers(self) -> dict[str, Router]:
        """The routers by the number of their layer, for balance and load."""
        return {
            layer: block.experts.router
            for layer, block in self.blocks.items()
            if isinstance(block, Block) and block.experts is not None
        }

    def _hidden(
        self, tokens: Tensor, context: Context, losses: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x_BTD = tokens if self.embed is None else self.embed(tokens, context.positions)
        for block in self.blocks.values():
            x_BTD, losses = block(x_BTD, context, losses)
        return x_BTD, losses


def check(config: Model) -> None:
    """Refuse shapes that can be priced but not built.

    Raises:
        UserError: the model has latent attention, or biases beside experts.
    """
    if config.latent_attention is not None:
        raise UserError(
            f"latent_attention of {config.name!r} can be planned but not trained here; "
            "leave it out and give heads, kv_heads and head_size"
        )
    if config.biases and config.experts:
        raise UserError(
            f"biases: true of {config.name!r} does not go with experts; use biases: false"
        )
