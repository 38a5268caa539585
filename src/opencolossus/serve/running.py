"""A request that is being answered: what was read, what was said, when it ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from opencolossus.serve.request import Delta, FinishReason, Request, TokenLogprob
from opencolossus.serve.scores import on_host, scored, scores
from opencolossus.serve.text import TextStream


@dataclass
class Running:
    """A request that has a slot."""

    request: Request
    text: TextStream
    random: random.Random
    prompt_set: set[int]
    filled: int = 0
    """Prompt tokens whose keys and values are in the cache."""
    reused: int = 0
    answer: list[int] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    started: bool = False
    """Whether a first piece was given out."""

    @classmethod
    def begin(cls, request: Request, reused: int) -> Running:
        """Begin to answer; ``reused`` tokens of the prompt are in the cache already."""
        seed = request.sampling.seed
        return cls(
            request=request,
            text=TextStream(request.stop),
            random=random.Random(seed) if seed is not None else random.Random(),
            prompt_set=set(request.prompt),
            filled=reused,
            reused=reused,
        )

    @property
    def read(self) -> bool:
        """Whether the whole prompt is in the cache."""
        return self.filled == len(self.request.prompt)

    def score_prompt(self, logits_TV: torch.Tensor, token_bytes: Sequence[bytes]) -> None:
        """Note how likely the tokens of the prompt were that these logits foretold."""
        prompt, start = self.request.prompt, self.filled
        if start == 0:
            self.prompt_logprobs.append(TokenLogprob(prompt[0], token_bytes[prompt[0]], None))
        targets = prompt[start + 1 : start + 1 + logits_TV.shape[0]]
        if not targets:
            return
        tops = [self.request.logprobs or 0] * len(targets)
        logprobs = torch.log_softmax(logits_TV[: len(targets)], -1)
        tokens = torch.tensor(targets, device=logprobs.device)
        (numbers,) = on_host(scores(logprobs, tokens, max(tops)))
        self.prompt_logprobs += scored(numbers, targets, tops, token_bytes)

    def take(
        self, token: int, data: bytes, logprobs: tuple[TokenLogprob, ...], context: int
    ) -> Delta:
        """Add a token to the answer; the piece to give out."""
        self.answer.append(token)
        text, finish = self._said(token, data, context)
        if finish is not None and not self.text.stopped:
            text += self.text.close()
            finish = "stop" if self.text.stopped else finish
        first, self.started = not self.started, True
        return Delta(
            id=self.request.id,
            text=text,
            tokens=1,
            logprobs=logprobs,
            prompt_logprobs=tuple(self.prompt_logprobs) if first else (),
            finish=finish,
            reused=self.reused if first else 0,
        )

    def _said(self, token: int, data: bytes, context: int) -> tuple[str, FinishReason | None]:
        request = self.request
        if token in request.stop_tokens:
            return "", "stop"
        text = self.text.push(data)
        if self.text.stopped:
            return text, "stop"
        full = len(request.prompt) + len(self.answer) >= context
        return text, "length" if full or len(self.answer) >= request.max_tokens else None
