"""Servers to measure, each the only thing that works while it is asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
from serve_load import Took, Work, measure

from opencolossus.data.tokenizer import Tokenizer

PATIENCE = 240.0
"""Seconds that a server may take to be ready."""


class LeftOutError(Exception):
    """This one cannot be measured here; the message says why."""


class Peer(Protocol):
    """What is measured."""

    def measure(self, work: Work) -> Took:
        """Do the work."""

    def close(self) -> None:
        """End."""


@dataclass
class HttpServer:
    """A server in a process of its own, stopped (not ended) while others are measured."""

    command: list[str]
    port: int
    model: str
    extra: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    write: Callable[[list[int]], list[int] | str] = list
    """From the ids of a prompt to what this server takes for one."""

    def __post_init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the server
        self._process = subprocess.Popen(
            self.command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )
        self.url = f"http://127.0.0.1:{self.port}/v1"
        end = time.monotonic() + PATIENCE
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                raise LeftOutError(f"it did not start: {self._last_words()}")
            time.sleep(0.2)
        self._signal(signal.SIGSTOP)

    def _ready(self) -> bool:
        with suppress(httpx.HTTPError):
            base = self.url.removesuffix("/v1")
            return httpx.get(f"{base}/health", timeout=5).status_code == 200
        return False

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def measure(self, work: Work) -> Took:
        """Let it go on, ask it, stop it again."""
        self._signal(signal.SIGCONT)
        try:
            return measure(self.port, self.model, work, self.extra, self.write)
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End it and what it started."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._signal(signal.SIGKILL)
        self._process.wait()


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Setting:
    """What all are given."""

    run: Path
    """Our own form."""
    folder: Path
    """Exported for transformers and vLLM."""
    gguf: Path | None
    """Exported for llama.cpp; None without the package gguf."""
    precision: str
    threads: int


def ours(setting: Setting) -> Peer:
    """``colossus serve``: sockets, accounts' layer, engine process."""
    port = free_port()
    command = [
        sys.executable, "-m", "opencolossus", "serve", str(setting.run), "--port", str(port),
        "--no-accounts", "--threads", str(setting.threads), "--dtype", setting.precision,
        "--database", f"sqlite:///{setting.folder}/serve.db",
    ]  # fmt: skip
    return HttpServer(command, port, setting.run.name, {"ignore_eos": True})


def llama_cpp(setting: Setting) -> Peer:
    """llama.cpp's own server, a slot for each client, from $LLAMA_SERVER or the path."""
    server = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
    if server is None:
        raise LeftOutError("there is no llama-server; build llama.cpp and set LLAMA_SERVER")
    if setting.gguf is None:
        raise LeftOutError("the model cannot be exported for it (pip install gguf)")
    port = free_port()
    threads = str(setting.threads)
    command = [
        server, "-m", str(setting.gguf), "--host", "127.0.0.1", "--port", str(port), "-np", "32",
        "-c", str(32 * 256), "-t", threads, "-tb", threads, "--offline", "--log-disable",
    ]  # fmt: skip
    # An end token would end its answers earlier than the others'.
    return HttpServer(command, port, setting.gguf.name, {"ignore_eos": True, "cache_prompt": False})


def vllm(setting: Setting) -> Peer:
    """vLLM's CPU build, from the virtual environment $VLLM_PYTHON."""
    python = os.environ.get("VLLM_PYTHON")
    if python is None:
        raise LeftOutError("set VLLM_PYTHON to the Python of an environment with vLLM's CPU build")
    port = free_port()
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(setting.folder),
        "--served-model-name", "tiny", "--trust-remote-code", "--enforce-eager",
        "--port", str(port),
        "--dtype", "bfloat16" if setting.precision == "bf16" else "float32",
        "--max-num-seqs", "32", "--max-model-len", "256",
    ]  # fmt: skip
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(setting.threads),
    }  # fmt: skip
    return HttpServer(command, port, "tiny", {"ignore_eos": True}, environment)


class HuggingFace:
    """transformers' `generate`: all prompts in one batch, the best that it can do."""

    def __init__(self, setting: Setting) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise LeftOutError(str(error)) from None
        torch.set_num_threads(setting.threads)
        self._torch = torch
        dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
        self._model = AutoModelForCausalLM.from_pretrained(
            setting.folder, trust_remote_code=True, dtype=dtype
        ).eval()

    def measure(self, work: Work) -> Took:
        """Generate; nothing is streamed, so there is no time to the first token."""
        torch = self._torch
        start, tokens = time.perf_counter(), 0
        for turn in range(work.turns):
            prompts = torch.tensor(work.prompts(turn))
            with torch.inference_mode():
                out = self._model.generate(
                    prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=work.tokens,
                    min_new_tokens=work.tokens, do_sample=False, use_cache=True, pad_token_id=0,
                )  # fmt: skip
            tokens += out[:, prompts.shape[1] :].numel()
        return Took(tokens, time.perf_counter() - start, None)

    def close(self) -> None:
        """Nothing to end."""


def transformers_serve(setting: Setting) -> Peer:
    """``transformers serve``."""
    program = Path(sys.executable).with_name("transformers")
    if not program.is_file():
        raise LeftOutError("transformers is not installed beside this Python")
    # It takes texts alone, and goes on past the end of an answer only where none is named.
    folder = Path(shutil.copytree(setting.folder, setting.folder.with_name("endless")))
    for name in ("config.json", "generation_config.json"):
        kept = json.loads((folder / name).read_text())
        kept.pop("eos_token_id", None)
        (folder / name).write_text(json.dumps(kept))
    words = Tokenizer.load(setting.run / "tokenizer.json")
    port = free_port()
    command = [
        str(program), "serve", str(folder), "--trust-remote-code", "--port", str(port),
        "--host", "127.0.0.1", "--device", "cpu",
        "--dtype", "bfloat16" if setting.precision == "bf16" else "float32",
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": str(setting.threads), "HF_HUB_OFFLINE": "1"}
    return HttpServer(command, port, str(folder), {}, environment, words.decode)


PEERS: dict[str, Callable[[Setting], Peer]] = {
    "colossus serve": ours,
    "llama.cpp llama-server": llama_cpp,
    "vLLM, CPU build": vllm,
    "Hugging Face generate": HuggingFace,
    "transformers serve": transformers_serve,
}
