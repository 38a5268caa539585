"""A trained run as a model of lm-eval, the Language Model Evaluation Harness (extra ``eval``).

``import opencolossus.serve.harness`` registers it as ``colossus``, with ``run=FOLDER`` as its
argument, for ``lm_eval.simple_evaluate`` and lm-eval's own command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from opencolossus.data import chat
from opencolossus.serve.trained import open_run

ROWS = 16
"""Texts that are scored together."""
ANSWER = 256
"""Tokens of an answer where a task does not say how long it may be."""

Request = tuple[Any, list[int], list[int]]
"""A key for lm-eval's cache, tokens that are given, tokens that are scored."""


@register_model("colossus")
class Colossus(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """The newest sound checkpoint of a run.

    Args:
        run: its folder.
        batch_size: texts that are scored together; ``auto`` is 16.
        max_length: tokens that the network sees at once; the model's context if left out.
        device: of PyTorch; where there is no GPU the CPU in any case.

    Raises:
        UserError: the folder holds no run with a sound checkpoint.
    """

    def __init__(
        self,
        run: str,
        batch_size: int | str | None = None,
        max_length: int | None = None,
        device: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__()
        trained = open_run(Path(run))
        self._tokenizer = trained.tokenizer
        # lm-eval's own command asks for cuda:0 wherever it runs.
        self._device = torch.device((device or "cuda") if torch.cuda.is_available() else "cpu")
        self._network = trained.network().to(self._device).eval()
        self._rows = int(batch_size) if batch_size and str(batch_size).isdigit() else ROWS
        self.max_length = int(max_length or trained.model.context)

    @property
    def eot_token_id(self) -> int:
        """Ends a document."""
        return chat.END_ID

    @property
    def prefix_token_id(self) -> int:
        """What a text without a beginning is conditioned on."""
        return chat.BOS_ID

    @property
    def tokenizer_name(self) -> str:
        """Names the cache of rendered chats."""
        return self._tokenizer.fingerprint

    def tok_encode(self, string: str, **_: Any) -> list[int]:
        """Ids of a text, without special tokens."""
        return self._tokenizer.encode(string)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of both, where the border does not split a token; every text has a beginning."""
        given, scored = super()._encode_pair(context, continuation)
        return ([chat.BOS_ID, *given] if context else given), scored

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of whole texts, cut into windows in which each token is scored once."""
        found = []
        for request in requests:
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, 1
            )
            parts = [(None, *make_disjoint_window(window)) for window in windows]
            found.append(sum(score for score, _ in self._loglikelihood_tokens(parts)))
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The likeliest continuation of each text, up to one of its ends."""
        return [self._continue(*request.args) for request in requests]

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """For each request: nats of what is scored, and whether it is the likeliest throughout."""
        # The longest first: what does not fit is found out at once, and rows are of like length.
        order = sorted(range(len(requests)), key=lambda i: -sum(map(len, requests[i][1:])))
        found: dict[int, tuple[float, bool]] = {}
        for first in range(0, len(order), self._rows):
            some = order[first : first + self._rows]
            for i, score in zip(some, self._score([requests[i] for i in some]), strict=True):
                found[i] = score
                self.cache_hook.add_partial("loglikelihood", requests[i][0], score)
        return [found[i] for i in range(len(requests))]

    @torch.no_grad()
    def _score(self, requests: list[Request]) -> Iterable[tuple[float, bool]]:
        rows = [(given + scored)[-(self.max_length + 1) :] for _, given, scored in requests]
        longest = max(map(len, rows)) - 1
        tokens = torch.full((len(rows), longest), chat.PAD_ID, device=self._device)
        for i, row in enumerate(rows):
            tokens[i, : len(row) - 1] = torch.tensor(row[:-1])
        logits = self._logits(tokens).float().log_softmax(-1)
        for i, (row, (_, _, scored)) in enumerate(zip(rows, requests, strict=True)):
            count = min(len(scored), len(row) - 1)
            wanted = torch.tensor(row[-count:], device=self._device)
            mine = logits[i, len(row) - 1 - count : len(row) - 1]
            score = mine.gather(1, wanted[:, None]).sum()
            yield float(score), bool((mine.argmax(-1) == wanted).all())

    @torch.no_grad()
    def _continue(self, text: str, options: dict[str, Any]) -> str:
        until = options.get("until") or []
        ends = [until] if isinstance(until, str) else list(until)
        row = [chat.BOS_ID, *self.tok_encode(text)]
        said: list[int] = []
        for _ in range(int(options.get("max_gen_toks") or ANSWER)):
            seen = torch.tensor([[*row, *said][-self.max_length :]], device=self._device)
            said.append(int(self._logits(seen)[0, -1].argmax()))
            answer = self._tokenizer.decode(said)
            if said[-1] == chat.END_ID or any(end in answer for end in ends):
                break
        answer = self._tokenizer.decode(said)
        return answer[: min([answer.find(end) for end in ends if end in answer] + [len(answer)])]

    def _logits(self, tokens: Tensor) -> Tensor:
        found: Tensor = self._network(tokens)
        return found
