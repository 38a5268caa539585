"""Tokens per second of answers, ours and that of others side by side in one run, on a CPU.

    python benchmarks/serve.py [RUN] [--clients 1 8 32] [--tokens 64] [--prompt 32] [--rounds 3]

RUN is the folder of a training run; without one, the shape of ``examples/tiny.yaml`` with random
weights is measured, which costs the same time. Contenders that are not installed are left out:

- ours: `opencolossus.serve.engine`, requests that arrive one by one
- ours over HTTP: the same behind ``colossus serve``, with as many streaming clients
- Hugging Face `generate`, the exported model, one batch of as many rows with their cache
- llama.cpp (llama-cpp-python), the exported model as GGUF, where a converter is installed

Each contender works in a process of its own while the others wait; rounds go in turns. The table
gives medians by the clock and by CPU time of the process (which other work on the machine disturbs
less; not for HTTP, where it is two processes), and the median time to the first token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import os
import random
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Work:
    """One measurement: so many clients, each with a prompt, each wanting so many tokens."""

    clients: int
    prompt: int
    tokens: int
    seed: int

    def prompts(self, vocabulary: int) -> list[list[int]]:
        """A prompt per client."""
        generator = random.Random(self.seed)
        return [
            [generator.randrange(6, vocabulary) for _ in range(self.prompt)]
            for _ in range(self.clients)
        ]


@dataclass(frozen=True)
class Took:
    """What it took."""

    tokens: int
    wall: float
    cpu: float
    first: float | None
    """Median seconds to the first token."""


Contender = Callable[[Work], Took]


def ours(run: Path, threads: int) -> Contender:
    """The engine in this process."""
    import torch

    from opencolossus.serve.request import Request, Sampling
    from opencolossus.serve.trained import open_run

    torch.set_num_threads(threads)
    trained = open_run(run)
    engine = trained.engine(slots=32)

    def measure(work: Work) -> Took:
        wall, cpu = time.perf_counter(), time.process_time()
        for prompt in work.prompts(trained.model.vocabulary):
            sampling = Sampling(temperature=0)
            engine.submit(Request(uuid.uuid4().hex, tuple(prompt), work.tokens, sampling))
        count, firsts = 0, dict[str, float]()
        while engine.busy:
            for delta in engine.step():
                firsts.setdefault(delta.id, time.perf_counter() - wall)
                count += delta.tokens
        return Took(
            count,
            time.perf_counter() - wall,
            time.process_time() - cpu,
            statistics.median(firsts.values()),
        )

    return measure


def over_http(run: Path, threads: int) -> Contender:
    """The whole server: API process, engine process, sockets."""
    import functools
    import threading

    import httpx

    from opencolossus.serve.accounts.database import Database
    from opencolossus.serve.api.hub import Hub, Options
    from opencolossus.serve.server import Binding, listen, make_server
    from opencolossus.serve.server import run as serve
    from opencolossus.serve.supervisor import Supervisor
    from opencolossus.serve.trained import open_run
    from opencolossus.serve.worker import build_engine

    trained = open_run(run)
    build = functools.partial(build_engine, run, 32, 256, "cpu", threads)
    folder = tempfile.mkdtemp(prefix="serve-benchmark-")
    database = Database(f"sqlite:///{folder}/serve.db")
    hub = Hub(Supervisor(build), trained.name, trained.tokenizer, database, Options(accounts=False))
    binding = Binding(port=0)
    listener = listen(binding)
    server = make_server(hub, binding)
    thread = threading.Thread(target=lambda: asyncio.run(serve(hub, server, listener)), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"

    async def one(client: httpx.AsyncClient, prompt: list[int], tokens: int) -> tuple[int, float]:
        body = {
            "model": trained.name, "prompt": prompt, "max_tokens": tokens, "temperature": 0,
            "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        start, first, count = time.perf_counter(), 0.0, 0
        async with client.stream("POST", url, json=body) as stream:
            async for line in stream.aiter_lines():
                first = first or time.perf_counter() - start
                if line.startswith("data: {") and '"usage"' in line:
                    count = json.loads(line[6:])["usage"]["completion_tokens"]
        return count, first

    async def all_of(work: Work) -> list[tuple[int, float]]:
        limits = httpx.Limits(max_connections=work.clients)
        async with httpx.AsyncClient(timeout=600, limits=limits) as client:
            prompts = work.prompts(trained.model.vocabulary)
            return await asyncio.gather(*(one(client, p, work.tokens) for p in prompts))

    def measure(work: Work) -> Took:
        wall = time.perf_counter()
        done = asyncio.run(all_of(work))
        elapsed = time.perf_counter() - wall
        count = sum(tokens for tokens, _ in done)
        return Took(count, elapsed, 0.0, statistics.median(first for _, first in done))

    return measure


def hugging_face(run: Path, threads: int) -> Contender:
    """The exported model in Hugging Face's `generate`."""
    import torch
    from transformers import AutoModelForCausalLM

    from opencolossus.grok import weights
    from opencolossus.serve.trained import open_run

    torch.set_num_threads(threads)
    trained = open_run(run)
    folder = Path(tempfile.mkdtemp(prefix="serve-benchmark-"))
    weights.export(trained.engine(slots=1).model, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()

    @torch.inference_mode()
    def measure(work: Work) -> Took:
        prompts = torch.tensor(work.prompts(trained.model.vocabulary))
        wall, cpu = time.perf_counter(), time.process_time()
        out = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=work.tokens,
            min_new_tokens=work.tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )
        count = out[:, prompts.shape[1] :].numel()
        return Took(count, time.perf_counter() - wall, time.process_time() - cpu, None)

    return measure


CONTENDERS: dict[str, Callable[[Path, int], Contender]] = {
    "ours": ours,
    "ours over HTTP": over_http,
    "Hugging Face generate": hugging_face,
}


def stand_by(connection: Connection, name: str, run: Path, threads: int) -> None:
    """A contender's process: get ready, then measure what is asked."""
    try:
        measure = CONTENDERS[name](run, threads)
        measure(Work(1, 8, 4, 0))
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    connection.send(None)
    with suppress(EOFError):
        while True:
            connection.send(measure(connection.recv()))


def random_run(folder: Path) -> Path:
    """A run folder with the shape of ``examples/tiny.yaml`` and random weights."""
    from opencolossus.data import tokenizer
    from opencolossus.grok.model import Grok
    from opencolossus.specs.load import load
    from opencolossus.train.checkpoint import Store
    from opencolossus.train.state import Position, State

    described = load(Path(__file__).parent.parent / "examples" / "tiny.yaml").description
    model = Grok(described.model)
    model.init_weights(0)
    words = tokenizer.train(["a sentence that nobody reads"], described.model.vocabulary)
    words.save(folder / "tokenizer.json")
    (folder / "description.json").write_text(described.model_dump_json())
    store = Store(folder, warn=print)
    tensors = {f"weights.{name}": weight for name, weight in model.named_parameters()}
    for name, value in model.state_dict().items():
        if name.endswith("router.bias"):
            tensors[f"buffers.{name}"] = value
    state = State(
        Position(), {}, {}, described.model.model_dump(mode="json"), words.fingerprint, "float32"
    )
    store.save(0, tensors, state.to_json())
    store.wait()
    store.close()
    return folder


def measure_all(
    run: Path, clients: list[int], prompt: int, tokens: int, rounds: int, threads: int
) -> dict[tuple[str, int], list[Took]]:
    """Every contender in turns; gives what each measurement took."""
    context = mp.get_context("spawn")
    doors: dict[str, Connection] = {}
    processes = []
    for name in CONTENDERS:
        ours_end, theirs = context.Pipe()
        process = context.Process(target=stand_by, args=(theirs, name, run, threads))
        process.start()
        theirs.close()
        processes.append(process)
        fault = ours_end.recv()
        if fault is None:
            doors[name] = ours_end
        else:
            print(f"{name} is left out: {fault}")
    took: dict[tuple[str, int], list[Took]] = {}
    for number in range(rounds):
        for count in clients:
            for name, door in doors.items():
                door.send(Work(count, prompt, tokens, number))
                took.setdefault((name, count), []).append(door.recv())
    for door in doors.values():
        door.close()
    for process in processes:
        process.terminate()
        process.join()
    return took


def table(took: dict[tuple[str, int], list[Took]], clients: list[int]) -> str:
    """Medians, in Markdown."""
    names = list(dict.fromkeys(name for name, _ in took))
    lines = ["| | " + " | ".join(f"{n} client{'s' if n > 1 else ''}" for n in clients) + " |"]
    lines.append("|---|" + "---|" * len(clients))
    for name in names:
        for label, figure in FIGURES.items():
            cells = [figure(took[name, count]) for count in clients]
            if any(cells):
                lines.append(f"| {name}, {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _median(values: list[float]) -> float:
    return statistics.median(values)


FIGURES: dict[str, Callable[[list[Took]], str]] = {
    "tokens/s": lambda runs: f"{_median([t.tokens / t.wall for t in runs]):.0f}",
    "tokens per CPU second": lambda runs: (
        f"{_median([t.tokens / t.cpu for t in runs]):.0f}" if runs[0].cpu else ""
    ),
    "first token, ms": lambda runs: (
        f"{_median([1e3 * t.first for t in runs if t.first]):.0f}" if runs[0].first else ""
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given: Any = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or random_run(Path(folder))
        took = measure_all(
            run, given.clients, given.prompt, given.tokens, given.rounds, given.threads
        )
    load = os.getloadavg()[0]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"\n{given.threads} thread(s), prompts of {given.prompt} tokens, answers of "
        f"{given.tokens}, medians of {given.rounds}; load of the machine {load:.1f}, "
        f"largest process {memory:.0f} MB\n"
    )
    print(table(took, given.clients))


if __name__ == "__main__":
    main()
