"""Standing in front of an engine elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from servers import MODEL, Parrot, Server, question, sqlite, wait_until

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve import wire
from opencolossus.serve.api.hub import Options
from opencolossus.serve.remote import Remote
from opencolossus.serve.request import Request, Sampling
from opencolossus.specs.errors import UserError


@pytest.fixture
def front(
    real_server: Server,
    tokenizer: Tokenizer,
    token_bytes: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    """A server whose engine is another server."""
    monkeypatch.setenv("COLOSSUS_ENGINE_KEY", real_server.add_user(tmp_path.name[:40].lower()))
    remote = Remote(real_server.url, 8, 8, 10_000, token_bytes)
    with Server(remote, tokenizer, sqlite(tmp_path), Options(), MODEL) as server:
        yield server


def test_it_answers_what_the_engine_behind_it_answers(front: Server, real_server: Server) -> None:
    assert front.engine.context == real_server.engine.context
    body = question("hello", seed=4, max_tokens=25, temperature=1.1, top_k=50, stop=["zz"])
    key = real_server.add_user("direct")
    with real_server.api(key) as client:
        direct = client.post("/v1/chat/completions", json=body).json()
    with front.api(front.add_user("ann")) as client:
        passed = client.post("/v1/chat/completions", json=body).json()
        echo = {"model": MODEL, "prompt": "hello", "echo": True, "logprobs": 1}
        refused = client.post("/v1/completions", json=echo)
    assert passed["choices"] == direct["choices"]
    assert passed["usage"]["total_tokens"] == direct["usage"]["total_tokens"]
    assert refused.status_code == 400
    assert "logprobs of the prompt" in refused.json()["error"]["message"]


def test_log_probabilities_and_usage_are_passed_on(front: Server, real_server: Server) -> None:
    body = question("hello", seed=4, max_tokens=12, logprobs=True, top_logprobs=3, temperature=1)
    plain = {"model": MODEL, "prompt": "hello", "seed": 4, "max_tokens": 12, "logprobs": 2}
    with real_server.api(real_server.add_user("scored")) as direct:
        expected = [
            direct.post("/v1/chat/completions", json=body).json(),
            direct.post("/v1/completions", json=plain).json(),
        ]
    with front.api(front.add_user("ann")) as client:
        found = [
            client.post("/v1/chat/completions", json=body).json(),
            client.post("/v1/completions", json=plain).json(),
        ]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["choices"] == theirs["choices"]
        known = theirs["usage"].pop("prompt_tokens_details")["cached_tokens"]
        assert mine["usage"].pop("prompt_tokens_details")["cached_tokens"] >= known
        assert mine["usage"] == theirs["usage"]


def test_what_other_engines_write_is_understood() -> None:
    request = Request("a", (1, 2), 5, Sampling(top_k=7, seed=3), ("zz",), (5,), logprobs=2)
    ours, theirs = (wire.body(request, "m", owner) for owner in ("vllm", "llamacpp"))
    assert (ours["stop_token_ids"], ours["top_k"], ours["logprobs"]) == ([5], 7, 2)
    assert (theirs["min_p"], theirs["repeat_penalty"], theirs["seed"]) == (0.0, 1.0, 3)
    assert ours["stop"] == theirs["stop"] == ["zz"]
    # As llama.cpp's server streams them; the token that ends an answer has no bytes.
    scored = {
        "content": [
            {"id": 9, "token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": [
                {"id": 9, "token": "Hi", "bytes": [72, 105], "logprob": -0.5}]},
            {"id": 5, "token": "", "bytes": [], "logprob": -0.1, "top_logprobs": []},
        ]
    }  # fmt: skip
    (one,) = wire.logprobs({"logprobs": scored}, 2, [])
    assert (one.token, one.data, one.logprob, one.top) == (9, b"Hi", -0.5, ((9, b"Hi", -0.5),))
    listed = {
        "tokens": ["bytes:\\xe2\\x82", "a"], "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{"x": -3.0, "y": -1.5, "z": -9.0}, None],
    }  # fmt: skip
    first, second = wire.logprobs({"logprobs": listed}, 2, [])
    assert (first.data, first.top) == (b"\xe2\x82", ((-1, b"y", -1.5), (-1, b"x", -3.0)))
    assert (second.data, second.top) == (b"a", ())
    assert wire.ends({"logprobs": scored}, (5, 1))
    assert not wire.ends({"logprobs": listed}, (5, 1))
    assert wire.logprobs({"logprobs": listed}, None, []) == ()
    numbered = {"tokens": ["token_id:1"], "token_logprobs": [-1.0], "top_logprobs": None}
    (third,) = wire.logprobs({"logprobs": numbered}, 0, [b"a", b"b"])
    assert (third.token, third.data) == (1, b"b")


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (429, b"", (429, "the engine is busy; try again later")),
        (400, b'{"error": {"message": "too long"}}', (400, "the engine refused: too long")),
        (422, b"<html>", (400, "the engine refused: status 422")),
        (401, b"secret", (503, "the engine refused with status 401")),
        (500, b"Traceback", (503, "the engine refused with status 500")),
    ],
)
def test_errors_of_the_engine_become_ours(
    status: int, text: bytes, expected: tuple[int, str]
) -> None:
    assert wire.refusal(status, text) == expected


@pytest.mark.skipif(not os.environ.get("LLAMA_SERVER"), reason="LLAMA_SERVER is not set")
def test_llama_cpp_answers_as_the_model_does(
    run_folder: Path,
    tokenizer: Tokenizer,
    token_bytes: list[bytes],
    real_server: Server,
    tmp_path: Path,
) -> None:
    from opencolossus.serve.gguf import export_gguf

    file = tmp_path / "tiny.gguf"
    export_gguf(run_folder, file, torch.float32)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [os.environ["LLAMA_SERVER"], "-m", str(file), "--port", str(port), "-np", "4",
               "-c", "1024", "-t", "1", "--offline"]  # fmt: skip
    engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _healthy(port))
        remote = Remote(f"http://127.0.0.1:{port}", 4, 8, 10_000, token_bytes)
        with Server(remote, tokenizer, sqlite(tmp_path), Options(), MODEL) as front:
            special = {str(token): -100 for token in range(6)}
            asked = {
                "logit_bias": special,
                "max_tokens": 12,
                "temperature": 0,
                "logprobs": True,
                "top_logprobs": 2,
            }
            bodies = [question(text, **asked) for text in ("hello", "fine", "you", "a b", "do")]
            with real_server.api(real_server.add_user("llama")) as client:
                expected = [client.post("/v1/chat/completions", json=b).json() for b in bodies]
            with front.api(front.add_user("ann")) as client:
                found = [client.post("/v1/chat/completions", json=b).json() for b in bodies]
    finally:
        engine.kill()
        engine.wait()
    assert sum(one["usage"]["completion_tokens"] for one in expected) > 40
    for one, other in zip(found, expected, strict=True):
        mine, theirs = one["choices"][0], other["choices"][0]
        assert mine["message"] == theirs["message"]
        assert mine["finish_reason"] == theirs["finish_reason"]
        assert one["usage"] == other["usage"]
        scored = [(choice["logprobs"] or {"content": []})["content"] for choice in (mine, theirs)]
        for a, b in zip(*scored, strict=True):
            assert a["bytes"] == b["bytes"]
            assert a["logprob"] == pytest.approx(b["logprob"], abs=0.02)


def _healthy(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    return False


def test_a_stop_reaches_the_engine_behind_it(front: Server, real_server: Server) -> None:
    body = question(max_tokens=240, stream=True, logit_bias={"5": -100})
    with (
        front.api(front.add_user("ann")) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as stream,
    ):
        next(stream.iter_lines())
    wait_until(lambda: front.engine.running == 0 and real_server.engine.running == 0)
    wait_until(lambda: not front.hub.streams)


def test_an_engine_that_goes_away_is_told(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "back").mkdir()
    back = Server(Parrot(), tokenizer, sqlite(tmp_path / "back"), Options(accounts=False), MODEL)
    make = functools.partial(Remote, slots=2, queue_limit=2, context=100, token_bytes=[])
    with back:
        remote = make(back.url)
        front = Server(remote, tokenizer, sqlite(tmp_path), Options(accounts=False), MODEL)
        front.__enter__()
        with front.api("none") as client:
            first = client.post("/v1/chat/completions", json=question()).json()
            assert first["choices"][0]["message"]["content"] == "Hello there!"
    with front.api("none") as client:
        found = client.post("/v1/chat/completions", json=question())
        assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_failed")
        found = client.post("/v1/chat/completions", json=question())
        assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_unavailable")
        assert client.get("/health").status_code == 503
    front.__exit__()
    with pytest.raises(UserError, match="no OpenAI-compatible engine at"):
        asyncio.run(make(back.url).start())
