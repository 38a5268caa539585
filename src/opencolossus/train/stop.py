"""Requests to end a run: signals that ask for it, and the clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Remembers that a signal asked the run to end after the step it is in."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Note the request; a second Ctrl-C ends the program at once, unsaved."""
        # Slurm asks every process to end, and torchrun then asks those that it started once more.
        by_hand = number == signal.SIGINT and "TORCHELASTIC_RUN_ID" not in os.environ
        if self.signal is not None and by_hand:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None


@contextmanager
def listening() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a request while the block runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in ASKED}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
