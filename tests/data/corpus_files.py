"""A small corpus to test with: half conversations, half texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

from opencolossus.specs.run import Data, Run

WORDS = [
    "the",
    "power",
    "of",
    "a",
    "site",
    "is",
    "not",
    "what",
    "it",
    "can",
    "carry",
    "but",
    "what",
    "it",
    "must",
    "cool",
    "by",
    "day",
]


def make_run(path: Path, *, batch_sequences: int = 4, sequence: int = 32, **data: object) -> Run:
    return Run(
        data=Data(path=path, **data),
        tokens=10_000,
        batch=batch_sequences * sequence,
        sequence=sequence,
    )


def write_corpus(folder: Path, documents: int = 120, seed: int = 0) -> Path:
    """Half chats, half texts, of very different lengths."""
    rng = random.Random(seed)

    def say(most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for n in range(documents):
        if n % 2:
            lines.append({"text": f"{n} " + say(120)})
        else:
            turns = [(("user", "assistant")[t % 2], say(15)) for t in range(rng.randint(1, 9))]
            lines.append({"messages": [{"role": r, "content": f"{n} {c}"} for r, c in turns]})
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder
