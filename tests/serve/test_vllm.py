"""What vLLM needs to find in our modelling file, and vLLM itself where it is installed.

    VLLM_PYTHON=path/of/its/python pytest tests/serve/test_vllm.py

with this package installed there too, since it brings the plugin.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from small_grok import SHAPE

from opencolossus.grok.initialise import initialise
from opencolossus.grok.model import Grok
from opencolossus.grok.weights import export
from opencolossus.serve import vllm_plugin

ASK = """
import json, sys
from vllm import LLM, SamplingParams
engine = LLM(sys.argv[1], trust_remote_code=True, dtype="float32", enforce_eager=True,
             max_model_len=64, max_num_seqs=4, skip_tokenizer_init=True)
asked = [{"prompt_token_ids": ids} for ids in json.loads(sys.argv[2])]
said = engine.generate(asked, SamplingParams(temperature=0, max_tokens=24, ignore_eos=True,
                                             detokenize=False))
print("TOKENS", json.dumps([list(one.outputs[0].token_ids) for one in said]))
"""
PROMPTS = [[1, 9, 30, 31], [1, 40, 41, 42, 43, 44], [1, 7]]


def test_attention_is_looked_up_once_and_called_once_by_that_name() -> None:
    """vLLM 0.32 reads the source of ``forward`` for this, and refuses layers without it."""
    pytest.importorskip("transformers")
    from opencolossus.grok.remote.modeling_grok import Grok1Attention

    tree = ast.parse(textwrap.dedent(inspect.getsource(Grok1Attention.forward)))
    names = [
        node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and "ALL_ATTENTION_FUNCTIONS" in ast.unparse(node.value)
    ]
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    assert len(names) == len(calls) == 1
    assert "self.scaling" in {ast.unparse(word.value) for word in calls[0].keywords}


def test_the_plugin_gives_experts_the_activation_of_the_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = SimpleNamespace(architectures=["Grok1ForCausalLM"], hidden_act="gelu_pytorch_tanh")
    about = SimpleNamespace(model_config=SimpleNamespace(hf_text_config=config))
    backend = ModuleType("vllm.model_executor.models.transformers")
    backend.moe = SimpleNamespace(FusedMoEFactory=lambda **kwargs: kwargs["activation"])
    settings = ModuleType("vllm.config")
    settings.get_current_vllm_config = lambda: about
    for name in ("vllm", "vllm.model_executor", "vllm.model_executor.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm.config", settings)
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    vllm_plugin.register()
    vllm_plugin.register()
    assert backend.moe.FusedMoEFactory(activation="silu") == "gelu_tanh"
    config.hidden_act = "relu6"
    with pytest.raises(ValueError, match="known: gelu_pytorch_tanh"):
        backend.moe.FusedMoEFactory(activation="silu")
    config.architectures = ["MixtralForCausalLM"]
    assert backend.moe.FusedMoEFactory(activation="silu") == "silu"


@pytest.mark.skipif(not os.environ.get("VLLM_PYTHON"), reason="VLLM_PYTHON is not set")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("renormalise", [False, True])
def test_vllm_says_the_same_tokens(tmp_path: Path, renormalise: bool) -> None:
    shape = SHAPE.model_copy(
        update={"width": 64, "heads": 2, "kv_heads": 1, "head_size": 32, "expert_feed_forward": 64}
    ).model_copy(update={"renormalise_gates": renormalise})
    model = Grok(shape).eval()
    initialise(model, shape, seed=3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(3.0 if "experts" in name or "attention" in name else 1.0)
    export(model, tmp_path / "export")
    asked = [os.environ["VLLM_PYTHON"], "-c", ASK, str(tmp_path / "export"), json.dumps(PROMPTS)]
    # By itself it takes what memory there is, and fails where that is little.
    found = subprocess.run(
        asked, check=True, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"},
    )  # fmt: skip
    (line,) = (line for line in found.stdout.splitlines() if line.startswith("TOKENS "))
    said = json.loads(line.removeprefix("TOKENS "))
    for prompt, theirs in zip(PROMPTS, said, strict=True):
        assert theirs == greedy(model, prompt, len(theirs))
    assert len({token for one in said for token in one}) > 8, "a model that only repeats"


def greedy(model: Grok, tokens: list[int], count: int) -> list[int]:
    """The likeliest token, again and again."""
    for _ in range(count):
        with torch.no_grad():
            tokens = [*tokens, int(model(torch.tensor([tokens]))[0, -1].argmax())]
    return tokens[-count:]
