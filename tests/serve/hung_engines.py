"""Engines that say nothing for long: one that works, and one that stops in mid-message."""

from __future__ import annotations

import os
import signal
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from opencolossus.serve import worker
from opencolossus.serve.engine import Engine
from opencolossus.serve.request import Delta, Request
from opencolossus.serve.worker import build_engine


def build_reading_engine(folder: Path, hold: Path) -> Engine:
    """An engine that reads a prompt without end, and says nothing of it, while a file exists."""
    engine = build_engine(folder, 8, 64, "cpu", 1, "fp32")
    step = engine.step

    def step_unless_held() -> list[Delta]:
        time.sleep(0.01 if hold.exists() else 0)
        return [] if hold.exists() else step()

    engine.step = step_unless_held  # type: ignore[method-assign]
    worker.SIGN_OF_LIFE = 0.0
    return engine


class BreaksOff:
    """Stops its process when it has said half of what it has to say."""

    slots, context, running, cached_tokens = 1, 100, 0, 0
    queue: tuple[Request, ...] = ()
    busy = False

    def submit(self, request: Request) -> None:
        self.asked = request
        self.busy = True

    def step(self) -> list[Delta]:
        Connection.send = say_half  # type: ignore[method-assign]
        return [Delta(self.asked.id, "half", 1)]


def say_half(connection: Connection, message: Any) -> None:
    os.write(connection.fileno(), struct.pack("!i", 1000) + b"half")
    os.kill(os.getpid(), signal.SIGSTOP)
