"""Servers on real sockets, and an engine that says what the test wants."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.accounts import credentials, users
from opencolossus.serve.accounts.database import Database
from opencolossus.serve.answers import Answers, EngineDownError, Generator, State
from opencolossus.serve.api.hub import Hub, Options
from opencolossus.serve.engine import Engine
from opencolossus.serve.fair import QueueFullError
from opencolossus.serve.pieces import PAUSE
from opencolossus.serve.request import Delta, Request
from opencolossus.serve.server import Binding, listen, make_server, run
from opencolossus.serve.worker import build_engine

MODEL = "tiny"
PASSWORD = "correct horse"


class Parrot:
    """Says its words one by one, for tests that are about everything but the engine."""

    def __init__(self, words: Sequence[str] = ("Hello", " there", "!"), pause: float = 0.0) -> None:
        self.words = list(words)
        self.pause = pause
        self.state: State = "ready"
        self.slots, self.context = 8, 200
        self.running = self.waiting = self.cached_tokens = self.restarts = 0
        self.full = False
        self.held = False
        """Silent for as long as this is set."""
        self.breaks_after: int | None = None
        self.seen: list[Request] = []
        self.cancelled: list[str] = []

    @property
    def load(self) -> int:
        return self.running

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.state = "stopped"

    def submit(self, requests: Sequence[Request]) -> Answers:
        if self.state != "ready":
            raise EngineDownError("the engine is starting")
        if self.full:
            raise QueueFullError("the server is busy")
        answers = Answers(requests, self._cancel)
        for request in requests:
            self.seen.append(request)
            self.running += 1
            task = asyncio.get_running_loop().create_task(self._speak(request, answers))
            setattr(self, f"_task_{request.id}", task)  # kept alive
        return answers

    def _cancel(self, identifier: str) -> None:
        self.cancelled.append(identifier)

    async def _speak(self, request: Request, answers: Answers) -> None:
        words = self.words[: request.max_tokens]
        for number, word in enumerate(words):
            while self.held:
                await asyncio.sleep(0.01)
            if self.pause:
                await asyncio.sleep(self.pause)
            if request.id in self.cancelled:
                break
            if self.breaks_after == number:
                answers.put(Delta(request.id, finish="error", error="the engine stopped"))
                break
            last = number == len(words) - 1
            short = len(words) < len(self.words)
            finish = ("length" if short else "stop") if last else None
            answers.put(Delta(request.id, word, 1, finish=finish))
        self.running -= 1


HELD_AFTER = 100
"""Tokens that a held engine still says."""


def build_held_engine(folder: Path, hold: Path) -> Engine:
    """An engine on hold while a file exists: none is built, and a running one falls silent.

    So what a test does in between comes in the middle, however fast the machine is.
    """
    wait_until(lambda: not hold.exists(), 240)
    engine = build_engine(folder, 8, 64, "cpu", 1, "fp32")
    step, held = engine.step, itertools.count()

    def step_unless_held() -> list[Delta]:
        said = next(held) if hold.exists() else 0
        if said == HELD_AFTER - 1:
            time.sleep(2 * PAUSE)  # so that all of it leaves
        if said >= HELD_AFTER:
            wait_until(lambda: not hold.exists(), 240)
        return step()

    engine.step = step_unless_held  # type: ignore[method-assign]
    return engine


class Server:
    """A running server."""

    def __init__(
        self, engine: Generator, tokenizer: Tokenizer, url: str, options: Options, model: str
    ) -> None:
        self.engine = engine
        self.database = Database(url)
        self.hub = Hub(engine, model, tokenizer, self.database, options, "Tiny")
        binding = Binding(port=0)
        self._listener: socket.socket = listen(binding)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = make_server(self.hub, binding)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(run(self.hub, self._server, self._listener))

    def __enter__(self) -> Server:
        self._thread.start()
        end = time.monotonic() + 60
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.begin_to_end()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def begin_to_end(self) -> None:
        """Ask the server to end, as SIGTERM would."""
        self._server.should_exit = True

    def add_user(self, name: str, tier: str = "unlimited") -> str:
        """Add a user; gives an API key."""
        with self.database.begin() as begin:
            user = users.add(begin, name, _password_hash(), tier)
            return credentials.new_key(begin, user, "test", None)[0]

    def api(self, key: str) -> httpx.Client:
        """A client with an API key."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )

    def browser(self, name: str) -> httpx.Client:
        """A client that is signed in, as the page would be."""
        client = httpx.Client(base_url=self.url, timeout=30)
        found = client.post("/app/sign-in", json={"name": name, "password": PASSWORD})
        assert found.status_code == 200, found.text
        client.headers["X-CSRF-Token"] = found.json()["csrf"]
        return client


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'serve.db'}"


def question(text: str = "hello", **more: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def wait_until(condition: object, seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@functools.cache
def _password_hash() -> str:
    return users.hash_password(PASSWORD)
