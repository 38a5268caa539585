"""Continuous batching: many answers advance together, one token each per step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from opencolossus.grok.cache import Cache
from opencolossus.grok.model import Grok
from opencolossus.serve.fair import FairQueue
from opencolossus.serve.fast import Forward, arranged
from opencolossus.serve.request import (
    Delta,
    FinishReason,
    Request,
    Sampling,
    TokenLogprob,
    longest_common_prefix,
)
from opencolossus.serve.sampling import choose, penalise
from opencolossus.serve.slots import swap
from opencolossus.serve.text import TextStream

PREFILL_TOKENS = 1024
"""Prompt tokens per step, so that long prompts do not hold up the answers of others."""


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


class Engine:
    """Answers to requests, token by token.

    Slots are kept in the order: decoding, reading their prompt, idle. An idle slot remembers the
    tokens that it holds, and a request whose prompt begins like them starts from there.
    """

    def __init__(
        self,
        model: Grok,
        token_bytes: Sequence[bytes],
        *,
        slots: int = 32,
        context: int | None = None,
        queue: int = 256,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.eval().to(self.device, dtype)
        self._forward: Forward = arranged(self.model, dtype, self.device)
        self.context = min(context or model.config.context, model.config.context)
        self.slots = slots
        self.queue = FairQueue(queue)
        self._bytes = token_bytes
        self._cache = Cache(model.config, slots, self.context, dtype=dtype, device=self.device)
        self._running: list[Running] = []
        self._decoding = 0
        self._held: list[list[int]] = [[] for _ in range(slots)]
        """Tokens whose keys and values each slot holds."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running) or len(self.queue) > 0

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._running)

    @property
    def cached_tokens(self) -> int:
        """Tokens of running answers in the cache."""
        return sum(self._cache.lengths[: len(self._running)])

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            QueueFullError: no room.
            ValueError: the prompt is empty or leaves no room for an answer.
        """
        if not request.prompt:
            raise ValueError("the prompt is empty")
        if len(request.prompt) >= self.context:
            raise ValueError(
                f"the prompt has {len(request.prompt)} tokens and the context {self.context}"
            )
        self.queue.put(request)

    def cancel(self, identifier: str) -> bool:
        """Forget a request; its slot is free at once. False if it is not here."""
        if self.queue.remove(identifier):
            return True
        for slot, sequence in enumerate(self._running):
            if sequence.request.id == identifier:
                self._release(slot)
                return True
        return False

    @torch.inference_mode()
    def step(self) -> list[Delta]:
        """Advance every running answer by a token and admit what waits."""
        self._admit()
        deltas: list[Delta] = []
        rows, logits = [], []
        if self._decoding:
            logits.append(self._decode())
            rows += self._running[: self._decoding]
        if self._decoding < len(self._running):
            ready, found = self._prefill()
            logits += found
            rows += ready
        if rows:
            deltas += self._sample(rows, torch.cat(logits))
        return deltas

    def _admit(self) -> None:
        while len(self._running) < self.slots and (request := self.queue.take()):
            slot = len(self._running)
            best, reused = self._best_slot(request)
            self._swap(slot, best)
            self._held[slot] = list(request.prompt[:reused])
            self._cache.truncate(slot, reused)
            seed = request.sampling.seed
            self._running.append(
                Running(
                    request=request,
                    text=TextStream(request.stop),
                    random=random.Random(seed) if seed is not None else random.Random(),
                    prompt_set=set(request.prompt),
                    filled=reused,
                    reused=reused,
                )
            )

    def _best_slot(self, request: Request) -> tuple[int, int]:
        """The idle slot whose tokens the prompt begins with the most of, and how many."""
        first = len(self._running)
        if request.prompt_logprobs:
            return first, 0
        # The last token of the prompt has to be computed: its logits choose the answer's first.
        prompt = list(request.prompt[:-1])
        common = [longest_common_prefix(held, prompt) for held in self._held[first:]]
        reused = max(common)
        if reused:
            return first + common.index(reused), reused
        # Nothing to gain: take the slot that holds the least, and keep what others may gain from.
        sizes = [len(held) for held in self._held[first:]]
        return first + sizes.index(min(sizes)), 0

    def _swap(self, left: int, right: int) -> None:
        swap(self._cache, left, right)
        held = self._held
        held[left], held[right] = held[right], held[left]
        count = len(self._running)
        if left < count and right < count:
            rows = self._running
            rows[left], rows[right] = rows[right], rows[left]

    def _release(self, slot: int) -> None:
        """Move a running sequence out of the running slots."""
        if slot < self._decoding:
            self._swap(slot, self._decoding - 1)
            slot = self._decoding - 1
            self._decoding -= 1
        last = len(self._running) - 1
        self._swap(slot, last)
        self._running.pop()

    def _decode(self) -> torch.Tensor:
        rows = self._running[: self._decoding]
        tokens = torch.tensor([[row.answer[-1]] for row in rows], device=self.device)
        step = self._cache.step(range(len(rows)), [1] * len(rows))
        logits = self._forward(tokens, cache=step)
        for slot, row in enumerate(rows):
            self._held[slot].append(row.answer[-1])
        return logits[:, -1].float()

    def _prefill(self) -> tuple[list[Running], list[torch.Tensor]]:
        """Read a piece of every unread prompt; give those now read, with their last logits."""
        first = self._decoding
        rows = self._running[first:]
        share = max(PREFILL_TOKENS // len(rows), 16)
        counts = [min(len(row.request.prompt) - row.filled, share) for row in rows]
        T = max(counts)
        tokens = torch.zeros(len(rows), T, dtype=torch.long)
        for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
            tokens[i, :count] = torch.tensor(row.request.prompt[row.filled : row.filled + count])
        whole = any(row.request.prompt_logprobs for row in rows)
        last = torch.tensor(counts, device=self.device)[:, None] - 1
        logits = self._forward(
            tokens.to(self.device),
            cache=self._cache.step(range(first, first + len(rows)), counts),
            select=None if whole else last,
        ).float()
        finished = []
        for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
            if row.request.prompt_logprobs:
                self._score_prompt(row, logits[i, :count])
            self._held[first + i] += row.request.prompt[row.filled : row.filled + count]
            row.filled += count
            if row.filled == len(row.request.prompt):
                finished.append((i, logits[i, counts[i] - 1 if whole else 0]))
        for place, (i, _) in enumerate(finished):
            self._swap(first + i, first + place)
        self._decoding += len(finished)
        return [rows[i] for i, _ in finished], [one[None] for _, one in finished]

    def _score_prompt(self, row: Running, logits_TV: torch.Tensor) -> None:
        prompt, start = row.request.prompt, row.filled
        if start == 0:
            row.prompt_logprobs.append(TokenLogprob(prompt[0], self._bytes[prompt[0]], None))
        targets = prompt[start + 1 : start + 1 + logits_TV.shape[0]]
        logprobs = torch.log_softmax(logits_TV[: len(targets)], -1)
        for target, one in zip(targets, logprobs, strict=True):
            row.prompt_logprobs.append(self._logprob(one, target, row.request.logprobs or 0))

    def _logprob(self, logprobs_V: torch.Tensor, token: int, top: int) -> TokenLogprob:
        best: tuple[tuple[int, bytes, float], ...] = ()
        if top:
            values, tokens = logprobs_V.topk(min(top, logprobs_V.shape[0]))
            best = tuple(
                (t, self._bytes[t], v)
                for t, v in zip(tokens.tolist(), values.tolist(), strict=True)
            )
        return TokenLogprob(token, self._bytes[token], float(logprobs_V[token]), best)

    def _sample(self, rows: list[Running], logits_BV: torch.Tensor) -> list[Delta]:
        raw = {
            i: torch.log_softmax(logits_BV[i], -1)
            for i, row in enumerate(rows)
            if row.request.logprobs is not None
        }
        for i, row in enumerate(rows):
            sampling = row.request.sampling
            if sampling.penalises or sampling.logit_bias:
                penalise(logits_BV[i], sampling, row.prompt_set, row.answer)
        samplings: list[Sampling] = [row.request.sampling for row in rows]
        tokens = choose(logits_BV, samplings, [row.random.random() for row in rows])
        deltas = []
        for i, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            scored = raw.get(i)
            logprobs: tuple[TokenLogprob, ...] = ()
            if scored is not None and token not in row.request.stop_tokens:
                logprobs = (self._logprob(scored, token, row.request.logprobs or 0),)
            delta = self._take(row, token, logprobs)
            if delta is not None:
                deltas.append(delta)
        return deltas

    def _take(self, row: Running, token: int, logprobs: tuple[TokenLogprob, ...]) -> Delta | None:
        """Add a token to an answer; the piece to give out."""
        request = row.request
        row.answer.append(token)
        text, finish = "", None
        if token in request.stop_tokens:
            finish = self._finish(row, "stop")
        else:
            text = row.text.push(self._bytes[token])
            full = len(request.prompt) + len(row.answer) >= self.context
            if row.text.stopped:
                finish = self._finish(row, "stop")
            elif len(row.answer) >= request.max_tokens or full:
                finish = self._finish(row, "length")
        if finish is not None and not row.text.stopped:
            text += row.text.close()
            finish = "stop" if row.text.stopped else finish
        first, row.started = not row.started, True
        return Delta(
            id=request.id,
            text=text,
            tokens=1,
            logprobs=logprobs,
            prompt_logprobs=tuple(row.prompt_logprobs) if first else (),
            finish=finish,
            reused=row.reused if first else 0,
        )

    def _finish(self, row: Running, reason: FinishReason) -> FinishReason:
        self._release(next(i for i, other in enumerate(self._running) if other is row))
        return reason
