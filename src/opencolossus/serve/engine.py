"""Continuous batching: many answers advance together, one token each per step."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from opencolossus.grok.model import Grok
from opencolossus.serve.fair import FairQueue
from opencolossus.serve.network import open_network
from opencolossus.serve.next_token import choose_tokens
from opencolossus.serve.request import Delta, Request, TokenLogprob
from opencolossus.serve.running import Running
from opencolossus.serve.slots import Slot, place

NO_NUMBERS = "the model computed infinities or no numbers at all; its weights may be damaged"
PREFILL_TOKENS = 1024
"""Most prompt tokens that a step reads."""
PREFILL_SECONDS = 0.05
"""About how long a step reads prompts while others wait for the next word of their answer."""


class Engine:
    """Answers to requests, token by token.

    Slots are kept in the order: decoding, reading their prompt, idle. A slot remembers the tokens
    that it holds, and a request whose prompt begins like them starts from there.
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
        self.context = min(context or model.config.context, model.config.context)
        self.slots = slots
        # Between two steps all of them wait, also those for which a slot is free.
        self.queue = FairQueue(slots + queue)
        self._bytes = token_bytes
        self._network = open_network(model, slots, self.context, dtype, torch.device(device))
        self._running: list[Running] = []
        self._decoding = 0
        self._held = [Slot() for _ in range(slots)]
        self._read_seconds = 0.0
        """What a prompt's token took when prompts were read last."""
        self._ended = 0
        """Answers that left their slot so far."""

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
        return sum(self._network.lengths[: len(self._running)])

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
        rows, logits = [], []
        if self._decoding:
            logits.append(self._decode())
            rows += self._running[: self._decoding]
        if self._decoding < len(self._running):
            ready, found = self._prefill()
            logits += found
            rows += ready
        return self._advance(rows, torch.cat(logits)) if rows else []

    def _advance(self, rows: list[Running], logits_BV: torch.Tensor) -> list[Delta]:
        """A token for each of the rows that have numbers to choose by, the end for others."""
        chosen = choose_tokens(rows, logits_BV, self._bytes)
        return [
            self._take(row, token, logprobs) if sound else self._fail(row)
            for row, (token, sound, logprobs) in zip(rows, chosen, strict=True)
        ]

    def _admit(self) -> None:
        while len(self._running) < self.slots and (request := self.queue.take()):
            self._running.append(Running.begin(request, self._seat(request)))

    def _seat(self, request: Request) -> int:
        """Give a request the first idle slot; how many tokens of its prompt are there already."""
        first = len(self._running)
        # The last token of the prompt has to be computed: its logits choose the answer's first.
        known = [] if request.prompt_logprobs else list(request.prompt[:-1])
        found = place(self._held, first, known)
        self._network.copy(found.source, found.slot, found.reused)
        self._held[found.slot].tokens = list(request.prompt[: found.reused])
        self._swap(first, found.slot)
        return found.reused

    def _swap(self, left: int, right: int) -> None:
        self._network.swap(left, right)
        held = self._held
        held[left], held[right] = held[right], held[left]
        count = len(self._running)
        if left < count and right < count:
            rows = self._running
            rows[left], rows[right] = rows[right], rows[left]

    def _release(self, slot: int) -> None:
        """Move a running sequence out of the running slots."""
        self._ended += 1
        self._held[slot].left = self._ended
        if slot < self._decoding:
            self._swap(slot, self._decoding - 1)
            slot = self._decoding - 1
            self._decoding -= 1
        last = len(self._running) - 1
        self._swap(slot, last)
        self._running.pop()

    def _decode(self) -> torch.Tensor:
        last = [row.answer[-1] for row in self._running[: self._decoding]]
        for held, token in zip(self._held, last, strict=False):
            held.tokens.append(token)
        return self._network.logits(0, [[token] for token in last])

    def _prefill(self) -> tuple[list[Running], list[torch.Tensor]]:
        """Read a piece of every unread prompt; give those now read, with their last logits."""
        first = self._decoding
        rows = self._running[first:]
        share = max(self._budget() // len(rows), 16)
        pieces = [row.request.prompt[row.filled : row.filled + share] for row in rows]
        whole = any(row.request.prompt_logprobs for row in rows)
        start = time.perf_counter()
        logits = self._network.logits(first, pieces, whole)
        self._read_seconds = (time.perf_counter() - start) / sum(map(len, pieces))
        sizes = [len(piece) if whole else 1 for piece in pieces]
        finished = []
        for i, (row, piece, own) in enumerate(zip(rows, pieces, logits.split(sizes), strict=True)):
            if row.request.prompt_logprobs:
                row.score_prompt(own, self._bytes)
            self._held[first + i].tokens += piece
            row.filled += len(piece)
            if row.read:
                finished.append((i, own[-1:]))
        for rank, (i, _) in enumerate(finished):
            self._swap(first + i, first + rank)
        self._decoding += len(finished)
        return [rows[i] for i, _ in finished], [one for _, one in finished]

    def _budget(self) -> int:
        """Prompt tokens that this step may read."""
        if not self._decoding or self._read_seconds * PREFILL_TOKENS <= PREFILL_SECONDS:
            return PREFILL_TOKENS
        return int(PREFILL_SECONDS / self._read_seconds)

    def _take(self, row: Running, token: int, logprobs: tuple[TokenLogprob, ...]) -> Delta:
        """Add a token to an answer; frees its slot at the end."""
        delta = row.take(token, self._bytes[token], logprobs, self.context)
        if delta.finish is not None:
            self._release(self._slot(row))
        return delta

    def _fail(self, row: Running) -> Delta:
        """End an answer for which the network computed no numbers; its slot is of no use."""
        slot = self._slot(row)
        self._held[slot].tokens = []
        self._release(slot)
        return Delta(row.request.id, finish="error", error=NO_NUMBERS, status=500)

    def _slot(self, row: Running) -> int:
        return next(i for i, other in enumerate(self._running) if other is row)
