"""Answers to conversations, one at a time, in the process of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from opencolossus.data.documents import Message
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.engine import Engine
from opencolossus.serve.prompt import STOP_TOKENS, fit
from opencolossus.serve.request import Request, Sampling


class Speaker:
    """A model that answers."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._numbers = count()

    def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        max_tokens: int,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        """The answer, piece by piece, until it ends or ``stopped`` says so.

        The oldest messages are left out where all do not fit the context.

        Raises:
            UserError: the last message alone does not fit.
        """
        context = self._engine.context
        # Half of a small context is kept for the answer.
        room = context - min(max_tokens, context // 2)
        prompt = fit(self._tokenizer, messages, room)
        name = str(next(self._numbers))
        self._engine.submit(
            Request(name, prompt.tokens, max_tokens, sampling, stop_tokens=STOP_TOKENS)
        )
        try:
            while self._engine.busy and not stopped():
                for delta in self._engine.step():
                    if delta.text:
                        yield delta.text
        finally:
            self._engine.cancel(name)


def token_table(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes that each token stands for."""
    return [tokenizer.decode_bytes([token]) for token in range(len(tokenizer))]
