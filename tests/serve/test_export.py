"""``colossus export``: what transformers reads is what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from opencolossus.cli import app
from opencolossus.data.documents import conversation
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.model import Grok
from opencolossus.specs.errors import UserError


def test_a_run_becomes_a_folder_for_transformers(
    run_folder: Path,
    model: Grok,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    out = tmp_path / "export"
    done = CliRunner().invoke(
        app, ["export", str(run_folder), "--out", str(out), "--precision", "fp32"]
    )
    assert done.exit_code == 0, done.output
    assert f"to {out}" in done.output
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True).eval()
    words = transformers.AutoTokenizer.from_pretrained(out)
    said = [{"role": "user", "content": "Hi there"}]
    ids = words.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    assert ids == tokenizer.encode_prompt(conversation(said))
    with torch.no_grad():
        tokens = torch.tensor([ids])
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), rtol=0, atol=1e-4)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path), "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UserError)
    assert "not the folder of a training run" in str(done.exception)
