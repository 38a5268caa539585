"""Which engines answer: one here, several here, or one elsewhere."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from opencolossus.serve.answers import Generator
from opencolossus.serve.pool import Pool
from opencolossus.serve.remote import Remote
from opencolossus.serve.supervisor import Supervisor
from opencolossus.serve.trained import Trained
from opencolossus.serve.worker import build_engine
from opencolossus.specs.errors import UserError


@dataclass(frozen=True)
class Engines:
    """What was asked for."""

    folder: Path
    """Of the run."""
    url: str | None = None
    """Of an engine elsewhere."""
    workers: int = 1
    slots: int = 32
    queue: int = 256
    device: str = "cpu"
    dtype: str | None = None
    threads: int | None = None

    def check(self) -> None:
        """Refuse what contradicts itself, or cannot be had here.

        Raises:
            UserError: it does.
        """
        if self.url is not None and self.workers > 1:
            raise UserError(
                "--workers counts engines here and --engine has one elsewhere; give one"
            )
        if self.device == "cuda":
            self._check_gpus()

    def _check_gpus(self) -> None:
        import torch

        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found == 0:
            raise UserError("--device cuda: there is no GPU that PyTorch can use; give cpu")
        if self.workers > found:
            raise UserError(
                f"--workers {self.workers} with --device cuda needs a GPU each and there are "
                f"{found}; give at most {found}"
            )

    def generator(self, trained: Trained) -> Generator:
        """The engines as one, not started yet."""
        if self.url is not None:
            from opencolossus.serve.conversation import token_table

            words, context = token_table(trained.tokenizer), trained.model.context
            return Remote(self.url, self.slots, self.queue, context, words)
        engines = [self._one(number) for number in range(self.workers)]
        return engines[0] if self.workers == 1 else Pool(engines)

    def _one(self, number: int) -> Supervisor:
        threads = self.threads
        if threads is None and self.workers > 1:
            threads = max(1, (os.cpu_count() or 1) // self.workers)
        device = f"cuda:{number}" if self.device == "cuda" else self.device
        build = functools.partial(
            build_engine, self.folder, self.slots, self.queue, device, threads, self.dtype
        )
        return Supervisor(build, self.queue)
