"""Standing in front of an engine elsewhere."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import MODEL, Parrot, Server, question, sqlite, wait_until

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.api.hub import Options
from opencolossus.serve.remote import Remote
from opencolossus.specs.errors import UserError


@pytest.fixture
def front(
    real_server: Server, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server whose engine is another server."""
    monkeypatch.setenv("COLOSSUS_ENGINE_KEY", real_server.add_user(tmp_path.name[:40].lower()))
    remote = Remote(real_server.url, 8, 8, 10_000)
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
        refused = client.post("/v1/chat/completions", json={**body, "logprobs": True})
    assert passed["choices"] == direct["choices"]
    assert passed["usage"] == direct["usage"]
    assert refused.status_code == 400
    assert "logprobs" in refused.json()["error"]["message"]


def test_a_stop_reaches_the_engine_behind_it(front: Server, real_server: Server) -> None:
    body = question(max_tokens=240, stream=True, logit_bias={"5": -100})
    with (
        front.api(front.add_user("ann")) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as stream,
    ):
        next(stream.iter_lines())
    wait_until(lambda: front.engine.running == 0 and real_server.engine.running == 0)
    assert not front.hub.streams


def test_an_engine_that_goes_away_is_told(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "back").mkdir()
    back = Server(Parrot(), tokenizer, sqlite(tmp_path / "back"), Options(accounts=False), MODEL)
    make = functools.partial(Remote, slots=2, queue_limit=2, context=100)
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
    front.__exit__()
    with pytest.raises(UserError, match="no OpenAI-compatible engine at"):
        asyncio.run(make(back.url).start())
