"""A crowd at the server: streams at once, some broken off at random, every whole answer checked.

    python benchmarks/serve_crowd.py RUN [--streams 200] [--seconds 120] [--break-off 0.3]

Starts ``colossus serve RUN`` and keeps so many streams open for so long; then asks for each of the
whole answers once more, alone, and compares. Fails if one differs, a slot stays in use, or a
process has grown by more than a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from serve_peers import free_port

WORDS = ("hello", "music", "books", "weekend", "pets", "school", "food", "films", "games", "work")


def question(generator: random.Random, model: str) -> dict[str, Any]:
    """A question with settings of its own; few enough that some come again and reuse the cache."""
    said = " ".join(generator.choices(WORDS, k=generator.randrange(1, 6)))
    return {
        "model": model, "messages": [{"role": "user", "content": f"What about {said}?"}],
        "seed": generator.randrange(50), "temperature": generator.choice([0, 0.7, 1.1]),
        "top_p": generator.choice([1.0, 0.9]), "max_tokens": generator.randrange(5, 150),
        "stream": True,
    }  # fmt: skip


async def one(client: httpx.AsyncClient, body: dict[str, Any], most: int | None) -> str | None:
    """The answer, or None where it was broken off after ``most`` events."""
    said, seen = "", 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as stream:
        stream.raise_for_status()
        async for line in stream.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            said += event["choices"][0]["delta"].get("content", "")
            seen += 1
            if most is not None and seen >= most:
                return None
    return said


async def crowd(
    client: httpx.AsyncClient, model: str, given: argparse.Namespace
) -> tuple[dict[str, str], Counter[str]]:
    """Answers by question, and how many ended how."""
    answers: dict[str, str] = {}
    counts: Counter[str] = Counter()
    end = time.monotonic() + given.seconds

    async def stay(number: int) -> None:
        generator = random.Random(number)
        while time.monotonic() < end:
            body = question(generator, model)
            breaks = generator.random() < given.break_off
            said = await one(client, body, generator.randrange(1, 30) if breaks else None)
            counts["broken off" if said is None else "whole"] += 1
            if said is not None:
                name = json.dumps(body)
                counts["unlike an earlier one"] += answers.setdefault(name, said) != said

    await asyncio.gather(*(stay(number) for number in range(given.streams)))
    return answers, counts


async def check(client: httpx.AsyncClient, answers: dict[str, str]) -> int:
    """How many answers differ from the same question asked alone."""
    differ = 0
    for name, said in answers.items():
        body = {**json.loads(name), "stream": False}
        found = (await client.post("/v1/chat/completions", json=body)).json()
        differ += found["choices"][0]["message"]["content"] != said
    return differ


def memory(process: int) -> dict[str, int]:
    """Resident MB of the server and of its engine."""
    found = {"server": process}
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    found |= {f"child {number}": int(child) for number, child in enumerate(children)}
    pages = {name: Path(f"/proc/{pid}/statm").read_text().split()[1] for name, pid in found.items()}
    return {name: int(count) * 4096 // 2**20 for name, count in pages.items()}


def gauges(url: str) -> dict[str, float]:
    """What the server says of its engine."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    wanted = ("colossus_slots_used", "colossus_queue", "colossus_cache_tokens_used")
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(wanted)}


async def run(url: str, model: str, process: int, given: argparse.Namespace) -> int:
    """Everything, once the server is up; gives the exit code."""
    limits = httpx.Limits(max_connections=given.streams)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        short = argparse.Namespace(**{**vars(given), "seconds": min(10.0, given.seconds)})
        await crowd(client, model, short)
        before = memory(process)
        start = time.monotonic()
        answers, counts = await crowd(client, model, given)
        took = time.monotonic() - start
        await asyncio.sleep(2)
        after, left = memory(process), gauges(url)
        differ = await check(client, answers)
    print(f"{given.streams} streams for {took:.0f} s: {dict(counts)}, {len(answers)} questions")
    print(f"{differ} of {len(answers)} answers differ from their answers alone")
    print(f"memory before {before} MB, after {after} MB; left in the engine: {left}")
    grown = any(after[name] > 1.1 * before[name] for name in before)
    return int(bool(differ or counts["unlike an earlier one"] or grown or any(left.values())))


def main() -> int:
    """Start a server, crowd it, end it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--break-off", type=float, default=0.3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable, "-m", "opencolossus", "serve", str(given.run), "--port", str(port),
            "--no-accounts", "--database", f"sqlite:///{folder}/serve.db",
        ]  # fmt: skip
        server = subprocess.Popen(command)
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end:
                try:
                    if httpx.get(f"{url}/health").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            return asyncio.run(run(url, given.run.name, server.pid, given))
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    sys.exit(main())
