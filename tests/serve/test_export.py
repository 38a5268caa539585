"""``colossus export``: what transformers reads is what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_grok import SHAPE
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
    # As what `transformers serve` opens it, where there is such a thing.
    if served := getattr(transformers, "AutoModelForMultimodalLM", None):
        assert type(served.from_pretrained(out, trust_remote_code=True)) is type(theirs)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path), "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UserError)
    assert "not the folder of a training run" in str(done.exception)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_becomes_a_file_for_llama_cpp(
    run_folder: Path, model: Grok, tokenizer: Tokenizer, tmp_path: Path, precision: str
) -> None:
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "deep" / "tiny.gguf"
    asked = ["export", str(run_folder), "--gguf", str(file), "--precision", precision]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "llama.cpp renormalises gates" in done.output
    assert [path.name for path in file.parent.iterdir()] == ["tiny.gguf"]
    found = gguf.GGUFReader(file)
    assert found.fields["general.architecture"].contents() == "grok"
    assert found.fields["grok.embedding_scale"].contents() == pytest.approx(6.0)
    assert found.fields["tokenizer.ggml.tokens"].contents()[1] == "<|bos|>"
    stored = {tensor.name: tensor for tensor in found.tensors}
    state = model.state_dict()
    assert len(stored) == 3 + 2 * 12
    for name, ours in (
        ("output.weight", state["head.weight"]),
        ("blk.1.attn_q.weight", state["blocks.1.attention.query.weight"]),
        ("blk.0.ffn_down_exps.weight", state["blocks.0.experts.experts.down"].transpose(1, 2)),
    ):
        raw = torch.tensor(stored[name].data)
        theirs = raw.view(torch.bfloat16) if precision == "bf16" else raw
        assert torch.equal(theirs.view(ours.shape), ours.to(theirs.dtype))
    assert stored["blk.0.ffn_gate_inp.weight"].tensor_type == gguf.GGMLQuantizationType.F32


def test_what_llama_cpp_cannot_load_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from opencolossus.serve.gguf import check

    assert check(SHAPE)
    for change, reason in (
        (
            {
                "norm_placement": "pre",
                "embedding_multiplier": 1.0,
                "attention_softcap": None,
                "renormalise_gates": True,
            },
            "is no Grok",
        ),
        ({"head_size": 16}, "the width as heads times head_size"),
        ({"attention_softcap": None}, "as attention_softcap"),
    ):
        with pytest.raises(UserError, match=reason):
            check(SHAPE.model_copy(update=change))
    done = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert "give --out FOLDER, --gguf FILE" in str(done.exception)
