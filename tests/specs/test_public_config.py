"""A description takes a ``config.json``; transformers counts the same parameters in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opencolossus.specs.errors import UserError
from opencolossus.specs.load import Loaded, load

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "intermediate_size": 160}
ROUTED = {"num_experts_per_tok": 2, "moe_intermediate_size": 48}
LATENT = {
    "intermediate_size": 160,
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
FAMILIES: dict[str, tuple[dict[str, Any], int]] = {
    "Llama": (GROUPED, 0),
    "Mistral": (GROUPED | {"sliding_window": 128}, 0),
    "Phi3": (GROUPED | {"pad_token_id": 0}, 0),
    "Qwen2": (GROUPED, 3 * (64 + 2 * 32)),
    "Qwen3": (GROUPED | {"head_dim": 32}, 3 * 2 * 32),
    "Olmo2": (GROUPED, 3 * (64 + 32)),
    "Mixtral": (GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}, 0),
    "Qwen3Moe": (GROUPED | ROUTED | {"num_experts": 8, "head_dim": 32}, 3 * 2 * 32),
    "DeepseekV3": (SMALL | ROUTED | LATENT, 0),
}
"""Keys of a small model, and how many parameters the network here leaves out, which it says."""


def written(folder: Path, config: dict[str, Any], model: str = "shape/config.json") -> Path:
    (folder / "shape").mkdir(exist_ok=True)
    (folder / "shape" / "config.json").write_text(json.dumps(config))
    spec = folder / "spec.yaml"
    run = "{tokens: 1M tokens, batch: 4096 tokens, sequence: 128}"
    spec.write_text(f"name: x\nmodel: {model}\nrun: {run}\n")
    return spec


def as_published(family: str) -> tuple[Any, dict[str, Any]]:
    transformers = pytest.importorskip("transformers")
    keys, _ = FAMILIES[family]
    config = getattr(transformers, f"{family}Config")(**keys)
    return config, config.to_dict() | {"architectures": [f"{family}ForCausalLM"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_that_transformers_counts(family: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    config, public = as_published(family)
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(config).num_parameters()
    loaded = load(written(tmp_path, public))
    ours, left_out = loaded.description.model, FAMILIES[family][1]
    assert ours.name == "shape"
    assert ours.parameters + left_out == theirs
    assert (left_out == 0) or any("no " in fact.note for fact in loaded.assumed().values())


def notes(loaded: Loaded) -> str:
    return " ".join(fact.note for fact in loaded.assumed().values())


def test_what_is_left_out_is_told_as_an_assumption(tmp_path: Path) -> None:
    scaled = {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "sliding_window": 64}
    public = {**GROUPED, **scaled, "architectures": ["MistralForCausalLM"]}
    told = notes(load(written(tmp_path, public)))
    assert "not scaled (llama3)" in told
    assert "window of 64" in told
    plain = {**GROUPED, "architectures": ["LlamaForCausalLM"]}
    assert notes(load(written(tmp_path, plain))) == ""


def test_parts_of_a_published_shape_can_be_changed(tmp_path: Path) -> None:
    public = {**GROUPED, "architectures": ["LlamaForCausalLM"]}
    spec = written(tmp_path, public, "{base: shape/config.json, layers: 7}")
    assert load(spec).description.model.layers == 7
    other = tmp_path / "other.json"
    other.write_text(json.dumps(public | {"num_hidden_layers": 9}))
    assert load(spec, [f"model={other}"]).description.model.layers == 9


@pytest.mark.parametrize(
    ("public", "says"),
    [
        ({**GROUPED, "architectures": ["MistralForCausalML"]}, "did you mean 'MistralForCausalLM'"),
        (
            {**SMALL, "architectures": ["LlamaForCausalLM"]},
            "the key 'intermediate_size' is missing",
        ),
        ({}, "class 'none'"),
        ([], "class 'none'"),
    ],
)
def test_a_file_that_does_not_serve_is_named(tmp_path: Path, public: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(written(tmp_path, public))
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        load(written(tmp_path, public, "none.json"))
