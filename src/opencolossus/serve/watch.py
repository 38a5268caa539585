"""Notices an engine that was asked and is not heard of any more."""

from __future__ import annotations

import threading
from collections.abc import Callable

PARTS = 20
"""Ticks of a limit; a silence is noticed within one of them."""


class Watch:
    """A thread that says once when an engine which owes an answer was silent for too long.

    A thread, since the event loop itself waits where an engine stops in the middle of a message.
    It counts its own ticks and no time of day: Ctrl-Z stops server and engine together, and when
    they go on the engine has not been silent.
    """

    def __init__(self, limit: float, hung: Callable[[], None]) -> None:
        """Begin to watch; ``limit`` in seconds."""
        self._pause = limit / PARTS
        self._hung = hung
        self._ended = threading.Event()
        # Written by the loop alone, so that no sign is lost between two threads.
        self._signs = 0
        self._owes = False
        # Written by the thread alone.
        self._seen = 0
        self._silent = 0
        threading.Thread(target=self._run, name="engine-watch", daemon=True).start()

    def asked(self) -> None:
        """Note that the engine owes an answer; if it owed none, its time begins now."""
        if not self._owes:
            self._signs += 1
            self._owes = True

    def heard(self, owes: bool) -> None:
        """Note a sign of life, and whether the engine owes anything more."""
        self._signs += 1
        self._owes = owes

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            self.tick()

    def tick(self) -> None:
        """Note that a part of the limit has passed."""
        if not self._owes or self._signs != self._seen:
            self._seen, self._silent = self._signs, 0
            return
        self._silent += 1
        if self._silent == PARTS:
            self.end()
            self._hung()
