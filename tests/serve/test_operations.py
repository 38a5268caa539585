"""The server as a process: start, refusals, faults, the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from processes import Process, call
from servers import (
    HELD_AFTER,
    MODEL,
    Parrot,
    Server,
    build_held_engine,
    question,
    sqlite,
    wait_until,
)

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve import server as servers
from opencolossus.serve.api.hub import Options
from opencolossus.serve.supervisor import Supervisor


def test_from_the_command_line_to_an_answer_and_to_the_end(
    run_folder: Path, tmp_path: Path
) -> None:
    database = tmp_path / "accounts" / "serve.db"
    added = call("users", "add", "Ann", "--tier", "premium", database=database, lines="a" * 9)
    assert added.stdout == "added ann (premium)\n", added.stderr
    key = call("users", "key", "ann", database=database).stdout.strip()
    assert key.startswith("sk-")
    started = Process(run_folder, database)
    try:
        headers = {"Authorization": f"Bearer {key}"}
        body = question("tell me a secret", stream=True, max_tokens=200, seed=1)
        with httpx.stream(
            "POST", f"{started.url}/v1/chat/completions", json=body, headers=headers, timeout=60
        ) as stream:
            lines = stream.iter_lines()
            next(lines)
            started.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert started.process.wait(40) == 0
    finally:
        started.process.kill()
    said = "".join(started.said)
    assert "Traceback" not in said
    assert "secret" not in said
    assert key not in said
    listed = call("users", "list", database=database).stdout
    assert re.search(r"ann\b.*premium.*enabled", listed)
    assert call("users", "change", "ann", "--disable", database=database).returncode == 0
    assert "removed ann" in call("users", "remove", "ann", "--yes", database=database).stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{run}", "--host", "0.0.0.0", "--no-accounts"], "would let everybody in"),
        (["{run}", "--host", "203.0.113.7"], "cannot listen"),
        (["{run}", "--tier", "fre"], "did you mean 'free'"),
        (["{run}", "--certificate", "x.pem"], "go together"),
        (["{run}", "--database", "oracle://x"], "is not supported"),
        (["{run}", "--engine-timeout", "0"], "Invalid value for '--engine-timeout'"),
        (["{run}", "--engine-timeout", "-5"], "Invalid value for '--engine-timeout'"),
        (["{run}/nowhere"], "is not a folder"),
        (["users", "add", "a b"], "is not valid"),
        (["users", "add", "ann"], "a password has 8 to 256 characters"),
        (["users", "key", "nobody"], "does not exist"),
        (["users", "change", "nobody"], "nothing to change"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_status_2(
    arguments: list[str], reason: str, run_folder: Path, tmp_path: Path
) -> None:
    given = [word.replace("{run}", str(run_folder)) for word in arguments]
    done = call(*given, database=tmp_path / "serve.db", lines="short\n")
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_without_accounts_this_machine_needs_no_key_and_others_get_nothing(
    run_folder: Path, tmp_path: Path
) -> None:
    started = Process(run_folder, tmp_path / "serve.db", "--no-accounts")
    try:
        found = httpx.post(
            f"{started.url}/v1/chat/completions", json=question(max_tokens=5), timeout=60
        )
        assert found.status_code == 200
        assert httpx.get(f"{started.url}/app/me").json()["user"]["name"] == "local"
        # Another site's page could make its own name point here.
        rebound = httpx.get(f"{started.url}/v1/models", headers={"Host": "evil.example"})
        assert rebound.status_code == 400
        forged = httpx.post(f"{started.url}/app/conversations", json={})
        assert forged.status_code == 403
    finally:
        assert started.end() == 0


def test_the_log_of_requests_has_paths_and_not_what_was_searched_for(
    run_folder: Path, tmp_path: Path
) -> None:
    started = Process(run_folder, tmp_path / "serve.db", "--no-accounts", "--log-requests")
    try:
        path = f"{started.url}/app/conversations?search=my+secret"
        assert httpx.get(path).status_code == 200
    finally:
        assert started.end() == 0
    said = "".join(started.said)
    assert '"GET /app/conversations HTTP/1.1" 200' in said
    assert "secret" not in said


@pytest.fixture(scope="module")
def key(real_server: Server) -> str:
    return real_server.add_user("alice")


def test_an_engine_killed_in_mid_stream_ends_answers_clearly_and_comes_back(
    run_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    engine = Supervisor(functools.partial(build_held_engine, run_folder, hold), 64)
    with (
        Server(engine, tokenizer, sqlite(tmp_path), Options(), MODEL) as server,
        server.api(server.add_user("alice")) as client,
    ):
        body = question(max_tokens=8, seed=2)
        before = client.post("/v1/chat/completions", json=body).json()
        hold.touch()
        long = question(max_tokens=HELD_AFTER + 100, seed=2, stream=True, logit_bias={"5": -100})
        with client.stream("POST", "/v1/chat/completions", json=long) as stream:
            lines = stream.iter_lines()
            assert any(said(line) for line in lines)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            rest = [line for line in lines if line]
        assert json.loads(rest[-1][6:])["error"]["code"] == "engine_failed"
        wait_until(lambda: engine.state != "ready")
        assert client.post("/v1/chat/completions", json=body).status_code == 503
        hold.unlink()
        wait_until(lambda: engine.state == "ready", 120)
        after = client.post("/v1/chat/completions", json=body).json()
        assert after["choices"] == before["choices"]
        assert engine.restarts == 1


def said(line: str) -> str:
    """What one line of a stream adds to the answer."""
    if not line.startswith("data: {"):
        return ""
    content: str | None = json.loads(line[6:])["choices"][0]["delta"].get("content")
    return content or ""


def test_a_crowd_with_random_disconnects_leaks_nothing_and_changes_no_answer(
    real_server: Server, key: str
) -> None:
    generator = random.Random(7)
    bodies = [
        question(
            f"hello {generator.randrange(20)}",
            seed=generator.randrange(5),
            max_tokens=generator.randrange(1, 60),
            temperature=generator.choice([0, 0.7, 1.2]),
            stream=True,
        )
        for _ in range(60)
    ]
    patience = [generator.choice([None, 1, 5]) for _ in bodies]

    async def one(client: httpx.AsyncClient, body: dict[str, object], most: int | None) -> str:
        text = ""
        async with client.stream("POST", "/v1/chat/completions", json=body) as stream:
            assert stream.status_code == 200
            seen = 0
            async for line in stream.aiter_lines():
                text += said(line)
                seen += line.startswith("data: {")
                if most is not None and seen >= most:
                    break
        return text

    async def crowd() -> list[str]:
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(
            base_url=real_server.url, headers=headers, timeout=120, limits=limits
        ) as client:
            return await asyncio.gather(
                *(one(client, body, most) for body, most in zip(bodies, patience, strict=True))
            )

    texts = asyncio.run(crowd())
    wait_until(lambda: real_server.engine.running == 0 and not real_server.hub.streams)
    assert real_server.engine.waiting == 0
    with real_server.api(key) as client:
        for body, most, text in zip(bodies, patience, texts, strict=True):
            if most is None:
                whole = client.post("/v1/chat/completions", json={**body, "stream": False})
                assert whole.json()["choices"][0]["message"]["content"] == text


def test_half_a_head_and_half_a_body_are_dropped_in_time(
    real_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(("127.0.0.1", real_server.port), timeout=60) as huge:
        huge.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Big: " + b"a" * 200_000)
        assert huge.recv(12) == b"HTTP/1.1 400"
    monkeypatch.setattr(servers, "HEADER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", real_server.port), timeout=10) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Sl")
        start = time.monotonic()
        assert slow.recv(100) == b""
        assert time.monotonic() - start < 9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_answers_go_on_when_there_is_room_again(
    small_disk: Path, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    with (
        Server(parrot, tokenizer, sqlite(small_disk), Options(), MODEL) as server,
        server.api(server.add_user("ann", "premium")) as client,
    ):
        assert client.post("/v1/chat/completions", json=question()).status_code == 200
        wait_until(lambda: not server.hub.tasks)
        ballast = small_disk / "ballast"
        fill(ballast)
        statuses = {
            client.post("/v1/chat/completions", json=question()).status_code for _ in range(40)
        }
        assert 503 in statuses
        assert statuses <= {200, 503}
        ballast.unlink()
        assert client.post("/v1/chat/completions", json=question()).status_code == 200


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", 0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 1024)
