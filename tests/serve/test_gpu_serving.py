"""``colossus serve`` and ``chat`` on a GPU that is simulated: what the CPU says, in fp32.

The arithmetic is the CPU's (see ``simulated_gpu/device.cpp``); what is tested is that the commands
find the GPU, that the network, its cache and the choice of tokens are there, and come back there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import Process
from servers import Server, question, wait_until

from opencolossus.data import chat
from opencolossus.serve.accounts import credentials, users
from opencolossus.serve.accounts.database import Database

ENDLESS = {str(token): -100 for token in range(len(chat.SPECIAL_TOKENS))}
"""Random weights would end an answer at once."""
LIKELIEST: dict[str, Any] = {"temperature": 0, "max_tokens": 40, "logit_bias": ENDLESS}
WHERE = "on NVIDIA H100 80GB HBM3"
IN_FP32 = """
import sys
from opencolossus.serve import trained
trained.usual_dtype = lambda device: "fp32"
from opencolossus.cli import main
main()
"""


@pytest.fixture
def gpu_server(
    run_folder: Path, tmp_path: Path, gpu_environment: dict[str, str]
) -> Iterator[tuple[Process, dict[str, str]]]:
    """A server that was not told where to run, and the headers of somebody's requests."""
    path = tmp_path / "serve.db"
    database = Database(f"sqlite:///{path}")
    with database.begin() as begin:
        user = users.add(begin, "ann", users.hash_password("a" * 9), "unlimited")
        key = credentials.new_key(begin, user, "test", None)[0]
    database.close()
    started = Process(run_folder, path, "--dtype", "fp32", environment=gpu_environment)
    try:
        yield started, {"Authorization": f"Bearer {key}"}
        assert started.end() == 0, started.said
    finally:
        started.process.kill()


def whole(url: str, headers: dict[str, str]) -> dict[str, Any]:
    body = question("hello there", **LIKELIEST, logprobs=True, top_logprobs=2)
    found = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert found.status_code == 200, found.text
    choice: dict[str, Any] = found.json()["choices"][0]
    return choice


def streamed(url: str, headers: dict[str, str]) -> str:
    body = question("hello there", **LIKELIEST, stream=True)
    said = ""
    with httpx.stream(
        "POST", f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                said += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    return said


def logprobs(choice: dict[str, Any]) -> list[float]:
    return [one["logprob"] for one in choice["logprobs"]["content"]]


def test_a_server_says_on_a_gpu_what_it_says_on_the_cpu_also_after_a_crash(
    gpu_server: tuple[Process, dict[str, str]], real_server: Server
) -> None:
    started, headers = gpu_server
    here = whole(real_server.url, {"Authorization": f"Bearer {real_server.add_user('gpu')}"})
    there = whole(started.url, headers)
    text = there["message"]["content"]
    assert text == here["message"]["content"]
    assert len(text) > 10
    assert logprobs(there) == pytest.approx(logprobs(here), abs=1e-4)
    assert streamed(started.url, headers) == text
    assert httpx.post(f"{started.url}/v1/chat/completions", json={}).status_code == 401
    assert "colossus_engine_restarts 0" in httpx.get(f"{started.url}/metrics").text
    os.kill(started.engine(), signal.SIGKILL)
    wait_until(lambda: not started.healthy())
    wait_until(started.healthy, 240)
    assert streamed(started.url, headers) == text
    assert "colossus_engine_restarts 1" in httpx.get(f"{started.url}/metrics").text
    assert sum(f"computing in fp32 {WHERE}" in line for line in started.said) == 2


def test_a_chat_says_on_a_gpu_what_it_says_on_the_cpu(
    run_folder: Path, gpu_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", IN_FP32, "chat", str(run_folder), "--seed", "4"]
    said = [
        subprocess.run(
            [*command, "--prompt", "hello there", "--device", device],
            env=gpu_environment, capture_output=True, text=True, check=True,
        ).stdout
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert len(said[0]) > 10


def test_a_gpu_that_is_not_there_is_one_sentence(
    run_folder: Path, tmp_path: Path, gpu_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "opencolossus", "serve", str(run_folder), "--port", "0"]
    database = ["--database", f"sqlite:///{tmp_path / 'serve.db'}"]
    done = subprocess.run(
        [*command, *database, "--device", "cuda:3"],
        env=gpu_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--device cuda:3: PyTorch sees cuda:0 here; give no more than that" in done.stderr
    assert "Traceback" not in done.stderr
