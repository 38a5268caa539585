"""lm-eval on a run of ours: its own loop, our network, tasks from a local file."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.model import Grok
from opencolossus.specs.errors import UserError

pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra eval)")

TEXTS = ["hello there how are you doing today", "I am fine thank you", "you are fine too " * 40]
QUESTIONS = [
    {"question": "how are", "choices": ["you", "today thank", "I"], "answer": 0},
    {"question": "I am", "choices": ["hello", "fine", "there there"], "answer": 1},
    {"question": "thank", "choices": ["doing", "am", "you"], "answer": 2},
]
CHOOSE = """
task: our_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""
PREDICT = """
task: our_texts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}, {{metric: byte_perplexity}}]
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = {"choices": QUESTIONS, "texts": [{"text": text} for text in TEXTS]}
    for name, kind in (("choices", CHOOSE), ("texts", PREDICT)):
        file = folder / f"{name}.json"
        file.write_text("\n".join(map(json.dumps, rows[name])))
        (folder / f"{name}.yaml").write_text(kind.format(file=file))
    return folder


def nats(model: Grok, tokenizer: Tokenizer, given: str, scored: str) -> float:
    """Log-likelihood by hand, token by token."""
    ids = [1, *tokenizer.encode(given + scored)]
    start = 1 + len(tokenizer.encode(given))
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]])).log_softmax(-1)[0]
    return sum(float(logits[i - 1, ids[i]]) for i in range(start, len(ids)))


def test_it_scores_what_the_network_says(run_folder, model, tokenizer, tasks) -> None:
    from opencolossus.serve.tasks import evaluate

    found = evaluate(run_folder, ["our_choices", "our_texts"], include=tasks, batch=4)
    chosen = []
    for row in QUESTIONS:
        said = [nats(model, tokenizer, str(row["question"]), f" {c}") for c in row["choices"]]
        chosen.append(said.index(max(said)) == row["answer"])
    assert found["our_choices"]["acc"] == pytest.approx(sum(chosen) / 3)

    total = sum(nats(model, tokenizer, "", text) for text in TEXTS[:2])
    from opencolossus.serve.harness import Colossus

    mine = Colossus(str(run_folder))
    rolled = [mine._loglikelihood_tokens([(None, [1], tokenizer.encode(t))])[0][0] for t in TEXTS]
    assert sum(rolled[:2]) == pytest.approx(total, rel=1e-4)
    assert found["our_texts"]["bits_per_byte"] == pytest.approx(
        math.log2(found["our_texts"]["byte_perplexity"]), rel=1e-6
    )


def test_a_text_longer_than_the_context_is_scored_once_per_token(run_folder, tokenizer) -> None:
    from lm_eval.api.instance import Instance

    from opencolossus.serve.harness import Colossus

    whole = Colossus(str(run_folder))
    short = Colossus(str(run_folder), max_length=16)
    request = [Instance("loglikelihood_rolling", {}, (TEXTS[2],), 0)]
    tokens = len(tokenizer.encode(TEXTS[2]))
    assert tokens > 32
    for model in (whole, short):
        (score,) = model.loglikelihood_rolling(request)
        # Untrained: near chance for each token, so a token left out or scored twice would show.
        assert score / tokens == pytest.approx(-math.log(len(tokenizer)), rel=0.5)


def test_it_writes_until_it_is_told_to_stop(run_folder) -> None:
    from lm_eval.api.instance import Instance

    from opencolossus.serve.harness import Colossus

    model = Colossus(str(run_folder))
    ask = {"until": ["\n"], "max_gen_toks": 12}
    (free,) = model.generate_until([Instance("generate_until", {}, ("hello", ask), 0)])
    assert free
    end = free[len(free) // 2]
    (cut,) = model.generate_until(
        [Instance("generate_until", {}, ("hello", {**ask, "until": [end]}), 0)]
    )
    assert cut == free[: free.index(end)]


def test_an_unknown_task_is_one_sentence(run_folder, tasks) -> None:
    from opencolossus.serve.tasks import evaluate

    with pytest.raises(UserError, match=r"--tasks our_choice is unknown .*our_choices"):
        evaluate(run_folder, ["our_choice"], include=tasks)


def test_a_gpu_finds_what_the_cpu_finds(run_folder, tasks, gpu_environment) -> None:
    from opencolossus.serve.tasks import evaluate

    names = ["our_choices", "our_texts"]
    command = [sys.executable, "-m", "opencolossus", "eval", str(run_folder), "--json"]
    done = subprocess.run(
        [*command, "--tasks", ",".join(names), "--include", str(tasks)],
        env=gpu_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "computing in fp32 on NVIDIA H100 80GB HBM3" in done.stderr
    here = evaluate(run_folder, names, include=tasks, device="cpu")
    for task, found in json.loads(done.stdout).items():
        assert found == pytest.approx(here[task], rel=1e-5), task
