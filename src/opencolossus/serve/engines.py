"""Which engines answer: one here, several here, or one elsewhere."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from opencolossus.serve import devices
from opencolossus.serve.answers import Generator
from opencolossus.serve.pool import Pool
from opencolossus.serve.remote import Remote
from opencolossus.serve.supervisor import TIMEOUT, Supervisor
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
    device: str | None = None
    """cpu, cuda, cuda:N, or None for a GPU each where there is one."""
    dtype: str | None = None
    threads: int | None = None
    timeout: float | None = None
    """Seconds of silence after which an engine here is killed."""

    def check(self) -> None:
        """Refuse what contradicts itself; what is not there an engine finds out.

        Raises:
            UserError: it does.
        """
        here = {
            "--workers": self.workers > 1,
            "--device": self.device is not None,
            "--dtype": self.dtype is not None,
            "--threads": self.threads is not None,
            "--engine-timeout": self.timeout is not None,
        }
        for name, given in here.items():
            if given and self.url is not None:
                raise UserError(
                    f"{name} is for engines here and --engine has one elsewhere; give one"
                )
        devices.check(self.device, self.workers)

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
        build = functools.partial(
            build_engine, self.folder, self.slots, self.queue, self.device, threads, self.dtype,
            number, self.workers,
        )  # fmt: skip
        return Supervisor(build, self.queue, self.timeout or TIMEOUT)
