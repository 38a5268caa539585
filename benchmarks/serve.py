"""Tokens per second of answers, ours and that of others side by side in one run, on a CPU.

    python benchmarks/serve.py [RUN] [--clients 1 8 32] [--tokens 64] [--prompt 32] [--rounds 5]
                               [--threads 1] [--precision bf16] [--json FILE]

RUN is the folder of a training run; without one, the shape of ``examples/tiny.yaml`` with random
weights is measured, which costs the same time. The same weights are exported to what each contender
loads; each is given the same prompts, the same number of threads, and streams its answers over
HTTP (Hugging Face's `generate` has no server and gets all prompts as one batch). Contenders take
turns in every round, and stand still while another is measured. llama.cpp is taken from
$LLAMA_SERVER or the path, vLLM's CPU build from the environment of $VLLM_PYTHON; what is not there
is left out, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from record import processor, save
from serve_load import Took, Work
from serve_peers import PEERS, LeftOutError, Peer, Setting


def random_run(folder: Path) -> Path:
    """A run folder with the shape of ``examples/tiny.yaml`` and random weights."""
    from opencolossus.data import tokenizer
    from opencolossus.grok.model import Grok
    from opencolossus.specs.load import load
    from opencolossus.train.checkpoint import Store
    from opencolossus.train.state import Position, State

    described = load(Path(__file__).parent.parent / "examples" / "tiny.yaml").description
    assert described.model is not None  # the example has one
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


def prepare(run: Path, folder: Path, precision: str, threads: int) -> Setting:
    """Export a run for everybody."""
    import torch

    from opencolossus.serve.export import export_run

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    export_run(run, folder, dtype)
    gguf: Path | None = folder / "model.gguf"
    try:
        from opencolossus.serve.gguf import export_gguf

        export_gguf(run, folder / "model.gguf", dtype)
    except ImportError:
        gguf = None
    return Setting(run, folder, gguf, precision, threads)


def start(setting: Setting, work: Work) -> tuple[dict[str, Peer], dict[str, str]]:
    """Contenders that can be measured, warmed up, and why the others cannot."""
    ready: dict[str, Peer] = {}
    left_out: dict[str, str] = {}
    for name, make in PEERS.items():
        try:
            peer = make(setting)
        except LeftOutError as error:
            left_out[name] = str(error)
            continue
        try:
            peer.measure(work)
            ready[name] = peer
        except Exception as error:
            peer.close()
            left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return ready, left_out


def measure(
    peers: dict[str, Peer], works: list[Work], rounds: int
) -> dict[tuple[str, int], list[Took]]:
    """Every contender in turns."""
    took: dict[tuple[str, int], list[Took]] = {}
    for number in range(rounds):
        for work in works:
            again = Work(work.clients, work.prompt, work.tokens, work.vocabulary, number)
            for name, peer in peers.items():
                took.setdefault((name, work.clients), []).append(peer.measure(again))
    return took


def rows(took: dict[tuple[str, int], list[Took]]) -> list[dict[str, Any]]:
    """Medians, and how many times as fast as the best of the others ours is."""
    found: list[dict[str, Any]] = []
    for (name, clients), runs in took.items():
        firsts = [1e3 * run.first for run in runs if run.first is not None]
        found.append(
            {
                "engine": name,
                "clients": clients,
                "tokens_per_second": round(statistics.median(run.speed for run in runs), 1),
                "first_token_ms": round(statistics.median(firsts), 1) if firsts else None,
            }
        )
    ours = {r["clients"]: r["tokens_per_second"] for r in found if r["engine"] == "colossus serve"}
    for row in found:
        if row["clients"] in ours:
            row["ours_is_times_as_fast"] = round(ours[row["clients"]] / row["tokens_per_second"], 2)
    return found


def table(found: list[dict[str, Any]], clients: list[int]) -> str:
    """The rows in Markdown."""
    names = list(dict.fromkeys(row["engine"] for row in found))
    by_key = {(row["engine"], row["clients"]): row for row in found}
    heads = [f"{n} client{'s' if n > 1 else ''}" for n in clients]
    lines = ["| tokens/s (first token, ms) | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---|" * len(clients))
    for name in names:
        cells = []
        for count in clients:
            row = by_key[name, count]
            first = f" ({row['first_token_ms']:.0f})" if row["first_token_ms"] is not None else ""
            cells.append(f"{row['tokens_per_second']:,.0f}{first}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name in names[1:]:
        ratios = [f"{by_key[name, n].get('ours_is_times_as_fast', 0):.2f}x" for n in clients]
        lines.append(f"| ours against {name} | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--json", type=Path)
    given: Any = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with tempfile.TemporaryDirectory(prefix="serve-benchmark-") as made:
        folder = Path(made) / "export"
        run = given.run or random_run(Path(made) / "tiny")
        setting = prepare(run, folder, given.precision, given.threads)
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        works = [Work(n, given.prompt, given.tokens, vocabulary, 0) for n in given.clients]
        peers, left_out = start(setting, Work(2, 8, 4, vocabulary, 1))
        try:
            found = rows(measure(peers, works, given.rounds))
        finally:
            for peer in peers.values():
                peer.close()
    setup = (
        f"{given.precision} weights, {given.threads} thread(s) each, prompts of {given.prompt} "
        f"tokens, answers of {given.tokens}, {works[0].turns} in a row per client, medians of "
        f"{given.rounds} rounds"
    )
    print(f"{processor()}; {setup}; load of the machine {os.getloadavg()[0]:.1f}\n")
    print(table(found, given.clients))
    for name, reason in left_out.items():
        print(f"\n{name} is left out: {reason}")
    save(given.json, "serve", processor(), setup=setup, rows=found, left_out=left_out)


if __name__ == "__main__":
    main()
