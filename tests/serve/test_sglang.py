"""In front of SGLang: what it writes differently, and SGLang itself where it is installed.

    SGLANG_PYTHON=path/of/its/python SGLANG_OPTIONS="..." pytest tests/serve/test_sglang.py

Events are as SGLang 0.5.23 wrote them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from servers import MODEL, Server, question, sqlite
from small_grok import DESCRIPTION, SHAPE, decided, written

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve import wire
from opencolossus.serve.api.hub import Options
from opencolossus.serve.export import export_run
from opencolossus.serve.remote import Remote
from opencolossus.serve.request import Delta, Request, Sampling
from opencolossus.serve.supervisor import Supervisor
from opencolossus.serve.worker import build_engine

STOP = 5


@dataclass
class SGLang:
    """Answers every request with the same status and lines."""

    status: int = 200
    lines: Sequence[dict[str, Any]] = ()
    asked: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                card = {"id": "m", "owned_by": "sglang", "max_model_len": 256}
                self._say(200, json.dumps({"object": "list", "data": [card]}))

            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                told.asked.append(json.loads(self.rfile.read(size)))
                if told.status != 200:
                    self._say(told.status, json.dumps(told.lines[0]))
                else:
                    self._say(200, "".join(f"data: {json.dumps(line)}\n\n" for line in told.lines))

            def _say(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def answer(url: str, request: Request, token_bytes: list[bytes]) -> tuple[list[Delta], int]:
    """Everything that comes of one request, and the context that the engine has room for."""

    async def scenario() -> tuple[list[Delta], int]:
        remote = Remote(url, 2, 2, 10_000, token_bytes)
        await remote.start()
        try:
            return [delta async for _, delta in remote.submit([request])], remote.context
        finally:
            await remote.stop()

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def scored(words: Sequence[str], numbers: Sequence[int], **more: Any) -> dict[str, Any]:
    told = {
        "tokens": list(words),
        "token_logprobs": [-0.5] * len(words),
        "top_logprobs": [{word: -0.5} for word in words],
    }
    choice = {"index": 0, "text": "".join(words), "logprobs": told, "finish_reason": None}
    choice |= {"matched_stop": None, "token_ids": list(numbers)}
    return {"id": "a", "object": "text_completion", "choices": [choice | more]}


def test_tokens_are_known_by_their_numbers_and_the_one_that_ended_is_not_scored(
    token_bytes: list[bytes],
) -> None:
    first, last = 300, 301
    ended = {"finish_reason": "stop", "matched_stop": STOP, "text": ""}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    lines = [
        scored(["Ã°"], [first]),  # what a token of one byte looks like there
        scored(["b", "<|end|>"], [last, STOP], **ended),
        {"id": "a", "object": "text_completion", "choices": [], "usage": usage},
    ]
    engine = SGLang(lines=lines)
    request = Request("a", (9, 10), 20, Sampling(temperature=0), stop_tokens=(STOP,), logprobs=1)
    with engine.running() as url:
        deltas, context = answer(url, request, token_bytes)
    assert context == 250, "SGLang refuses prompts of its context less six"
    assert engine.asked[0]["return_token_ids"] is True
    assert "return_tokens_as_token_ids" not in engine.asked[0]
    found = [one for delta in deltas for one in delta.logprobs]
    assert [(one.token, one.data) for one in found] == [
        (first, token_bytes[first]),
        (last, token_bytes[last]),
    ]
    assert sum(delta.tokens for delta in deltas) == 3
    assert deltas[-1].finish == "stop"


@pytest.mark.parametrize("code", [400, 500])
def test_an_error_in_a_stream_that_began_well_is_told(token_bytes: list[bytes], code: int) -> None:
    error = {"object": "error", "message": "too long\nby 4", "type": "BAD_REQUEST", "code": code}
    with SGLang(lines=[{"error": error}]).running() as url:
        (delta,), _ = answer(url, Request("a", (9,), 20), token_bytes)
    expected = (400, "the engine refused: too long")
    if code == 500:
        expected = (503, "the engine refused with status 500")
    assert (delta.finish, delta.status, delta.error) == ("error", *expected)


def test_the_reason_of_a_refusal_is_passed_on(token_bytes: list[bytes]) -> None:
    told = {"object": "error", "message": "no such bias", "type": "BadRequestError", "code": 400}
    with SGLang(400, [told]).running() as url:
        (delta,), _ = answer(url, Request("a", (9,), 20), token_bytes)
    assert (delta.status, delta.error) == (400, "the engine refused: no such bias")


@pytest.mark.parametrize("event", [{"choices": []}, {"error": None, "choices": []}])
def test_what_is_no_error_is_none(event: dict[str, Any]) -> None:
    assert wire.broken(event) is None


@pytest.mark.parametrize("error", ["text", {"message": "m"}, {"code": None}, ["x"], {"code": "x"}])
def test_an_error_without_a_status_is_the_engines_fault(error: object) -> None:
    assert wire.broken({"error": error}) == (503, "the engine refused with status 500")


@pytest.mark.skipif(not os.environ.get("SGLANG_PYTHON"), reason="SGLANG_PYTHON is not set")
def test_sglang_answers_as_the_model_does(
    tokenizer: Tokenizer, token_bytes: list[bytes], tmp_path: Path
) -> None:
    # What SGLang computes whatever config.json says, and no cap, which some of its backends leave
    # out.
    told = {"attention_softcap": None, "router_softcap": 30.0, "tied_embeddings": False}
    shape = SHAPE.model_copy(update=told)
    run = written(tmp_path / "run", decided(shape), shape, DESCRIPTION, tokenizer)
    export_run(run, tmp_path / "export", torch.float32)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [os.environ["SGLANG_PYTHON"], "-m", "sglang.launch_server", "--model-path",
               str(tmp_path / "export"), "--port", str(port), "--skip-server-warmup",
               *os.environ.get("SGLANG_OPTIONS", "").split()]  # fmt: skip
    build = functools.partial(build_engine, run, 8, 64, "cpu", 1, "fp32")
    own = Server(Supervisor(build, 64), tokenizer, sqlite(tmp_path), Options(accounts=False), MODEL)
    with open(tmp_path / "log", "wb") as log, own:
        engine = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(engine, port, tmp_path / "log")
            remote = Remote(f"http://127.0.0.1:{port}", 4, 8, 10_000, token_bytes)
            (tmp_path / "front").mkdir()
            url = sqlite(tmp_path / "front")
            with Server(remote, tokenizer, url, Options(accounts=False), MODEL) as front:
                _compare(front, own, token_bytes)
        finally:
            os.killpg(engine.pid, 9)
            engine.wait()


def _wait(engine: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 600
    while engine.poll() is None and time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def _compare(front: Server, own: Server, token_bytes: list[bytes]) -> None:
    words = ("hello", "fine", "you", "a b", "do")
    asked = {"max_tokens": 12, "temperature": 0}
    whole = {"logprobs": True, "top_logprobs": 1, "ignore_eos": True}
    bodies = [question(text, **asked, **whole) for text in words]
    # Tokens that no text has are words for SGLang, in which it finds stop strings.
    special = {str(token): -100 for token, data in enumerate(token_bytes) if not data}
    bodies += [question(text, **asked, logit_bias=special, stop=["e"]) for text in words]
    bodies.append({"model": MODEL, "prompt": [9] * 249, "max_tokens": 1, "temperature": 0})
    scored = 0
    for body in bodies:
        path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
        with front.api("none") as mine, own.api("none") as theirs:
            found, expected = (one.post(path, json=body).json() for one in (mine, theirs))
        for choice, other in zip(found["choices"], expected["choices"], strict=True):
            told = [(one.pop("logprobs", None) or {}).get("content", []) for one in (choice, other)]
            assert choice == other
            for a, b in zip(*told, strict=True):
                scored += 1
                assert a["bytes"] == b["bytes"]
                assert a["logprob"] == pytest.approx(b["logprob"], abs=0.02)
        assert found["usage"]["completion_tokens"] == expected["usage"]["completion_tokens"]
    assert scored > 20
