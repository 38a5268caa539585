"""Clients of an OpenAI-compatible server, and what they measured."""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SPECIAL = 6
"""Tokens below it steer; prompts of the benchmark are made of the others."""


@dataclass(frozen=True)
class Work:
    """So many clients, each asking a few times in a row and wanting so many tokens each time."""

    clients: int
    prompt: int
    tokens: int
    vocabulary: int
    seed: int
    turns: int = 4

    def prompts(self, turn: int) -> list[list[int]]:
        """A prompt per client."""
        generator = random.Random((self.seed * 100 + turn) * 1000 + self.clients)
        return [
            [generator.randrange(SPECIAL, self.vocabulary) for _ in range(self.prompt)]
            for _ in range(self.clients)
        ]


@dataclass(frozen=True)
class Took:
    """What it took."""

    tokens: int
    seconds: float
    first: float | None
    """Median seconds to the first token."""

    @property
    def speed(self) -> float:
        """Tokens per second over all clients."""
        return self.tokens / self.seconds


def measure(
    port: int,
    model: str,
    work: Work,
    extra: dict[str, Any],
    write: Callable[[list[int]], list[int] | str] = list,
) -> Took:
    """Ask all at once, every answer streamed; the clock runs from the first request on."""
    return asyncio.run(_measure(port, model, work, extra, write))


async def _measure(
    port: int,
    model: str,
    work: Work,
    extra: dict[str, Any],
    write: Callable[[list[int]], list[int] | str],
) -> Took:
    bodies = [
        [json.dumps({
            "model": model, "prompt": write(prompt), "max_tokens": work.tokens, "temperature": 0,
            "stream": True, "stream_options": {"include_usage": True}, **extra,
        }).encode() for prompt in work.prompts(turn)]
        for turn in range(work.turns)
    ]  # fmt: skip

    async def client(own: tuple[bytes, ...]) -> list[tuple[int, float]]:
        return [await _one(port, body) for body in own]

    start = time.perf_counter()
    found = await asyncio.gather(*(client(own) for own in zip(*bodies, strict=True)))
    seconds = time.perf_counter() - start
    done = [one for several in found for one in several]
    short = [count for count, _ in done if count != work.tokens]
    if short:
        raise RuntimeError(f"an answer has {short[0]} tokens instead of {work.tokens}")
    return Took(
        sum(count for count, _ in done), seconds, statistics.median(first for _, first in done)
    )


async def _one(port: int, body: bytes) -> tuple[int, float]:
    """Tokens of the answer, and seconds to its first event.

    By hand and with one look at the bytes, since it shares the machine with what is measured.
    """
    start, first, said = time.perf_counter(), 0.0, bytearray()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    while piece := await reader.read(65_536):
        said += piece
        if not first and b"data: {" in said:
            first = time.perf_counter() - start
    writer.close()
    if not said.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(said.decode("utf-8", "replace")[:300])
    counts = re.findall(rb'"completion_tokens": ?([0-9]+)', said)
    return int(counts[-1]) if counts else 0, first
