"""Export and import: bit-exact round trips, and the same answers from transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import GPT, GROK_1, GROK_2, LLAMA, MIXTRAL, SHARED, build
from safetensors.torch import load_file, save_file

from opencolossus.grok.cache import Cache
from opencolossus.grok.model import Grok
from opencolossus.grok.weights import Tokens, export, load
from opencolossus.grok.weights_config import caveats, from_public, to_public
from opencolossus.grok.weights_files import INDEX
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model

DENSE_GROK = GROK_1.model_copy(
    update={
        "name": "dense Grok",
        "experts": 0,
        "experts_per_token": 0,
        "expert_feed_forward": 0,
        "feed_forward": 96,
    }
)
ODD_GROK = GROK_2.model_copy(
    update={
        "name": "odd Grok",
        "attention_multiplier": 0.1,
        "attention_softcap": None,
        "router_softcap": 2.0,
        "renormalise_gates": True,
        "activation": "silu",
        "tied_embeddings": True,
    }
)
BIASED_LLAMA = LLAMA.model_copy(update={"name": "biased Llama", "biases": True})
PUBLIC = [GROK_1, GROK_2, DENSE_GROK, ODD_GROK, LLAMA, BIASED_LLAMA, MIXTRAL]


@pytest.fixture(params=PUBLIC, ids=lambda model: model.name.replace(" ", "-"))
def public(request: pytest.FixtureRequest) -> Grok:
    return lively(request.param)


def lively(model: Model) -> Grok:
    """A network whose attention, caps and routers all have something to do."""
    grok = build(model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in grok.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
                parameter += 1.5 * ("post_norm" in name)
            elif ".query." in name or ".key." in name:
                parameter *= 4
            elif ".router." in name:
                parameter *= 10
    return grok


def state(grok: Grok) -> dict[str, torch.Tensor]:
    return dict(grok.state_dict())


@pytest.mark.parametrize("shard_bytes", [10**9, 50_000], ids=["one-file", "many-files"])
def test_round_trip_is_bit_exact(public: Grok, tmp_path: Path, shard_bytes: int) -> None:
    export(public, tmp_path, shard_bytes=shard_bytes)
    assert (tmp_path / INDEX).exists() == (shard_bytes < 10**9)
    back = load(tmp_path)
    assert back.config.model_copy(update={"name": ""}) == public.config.model_copy(
        update={"name": ""}
    )
    ours, theirs = state(public), state(back)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_second_export_leaves_no_file_of_the_first(tmp_path: Path) -> None:
    export(lively(GROK_2), tmp_path, shard_bytes=50_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    export(lively(GROK_1), tmp_path)
    assert [p.name for p in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    assert not list(tmp_path.glob(".*"))


def test_bf16_keeps_routers_in_fp32(tmp_path: Path) -> None:
    grok = lively(GROK_2)
    export(grok, tmp_path, dtype=torch.bfloat16)
    tensors = load_file(tmp_path / "model.safetensors")
    for name, tensor in tensors.items():
        wanted = torch.float32 if "moe.gate." in name else torch.bfloat16
        assert tensor.dtype == wanted, name
    back = load(tmp_path)
    assert back.get_parameter("embed.weight").dtype == torch.bfloat16
    router = "blocks.0.experts.router.gate.weight"
    assert torch.equal(back.get_parameter(router), grok.get_parameter(router))
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_names_are_those_of_the_public_release(tmp_path: Path) -> None:
    export(lively(GROK_2), tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    layer = {
        *(f"self_attn.{x}_proj.weight" for x in "qkvo"),
        *(f"{a}_{b}_norm.weight" for a in ("pre", "post") for b in ("attn", "moe")),
        *(f"mlp.{x}_proj.weight" for x in ("gate", "up", "down")),
        "block_sparse_moe.gate.weight",
        *(f"block_sparse_moe.experts.{e}.w{w}.weight" for e in range(8) for w in (1, 2, 3)),
    }
    outer = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert names == outer | {f"model.layers.{i}.{name}" for i in range(2) for name in layer}


def test_pieces_for_tensor_parallelism_are_joined(tmp_path: Path) -> None:
    """As the public Grok-2 release stores them: w1 and w3 by rows, w2 by columns."""
    grok = lively(GROK_2)
    export(grok, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    split = {name: dim for name in tensors for key, dim in _SPLITS.items() if key in name}
    common = {name: t for name, t in tensors.items() if name not in split}
    save_file(common, tmp_path / "pytorch_model-00000-TP-common.safetensors")
    for rank in range(4):
        part = {n: tensors[n].chunk(4, dim)[rank].contiguous() for n, dim in split.items()}
        save_file(part, tmp_path / f"pytorch_model-00001-TP-00{rank}.safetensors")
    back = state(load(tmp_path))
    for name, tensor in state(grok).items():
        assert torch.equal(tensor, back[name]), name


_SPLITS = {".w1.": 0, ".w3.": 0, ".w2.": 1, "_proj.": 0, "lm_head": 0, "embed_tokens": 0}


def test_the_public_grok_2_configuration_is_understood() -> None:
    config = {
        "architectures": ["Grok1ForCausalLM"],
        "embedding_multiplier_scale": 90.50966799187809,
        "output_multiplier_scale": 0.5,
        "vocab_size": 131072,
        "hidden_size": 8192,
        "intermediate_size": 32768,
        "moe_intermediate_size": 16384,
        "max_position_embeddings": 131072,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
        "residual_moe": True,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "num_hidden_layers": 64,
        "head_dim": 128,
        "rms_norm_eps": 1e-05,
        "final_logit_softcapping": 50,
        "attn_logit_softcapping": 30.0,
        "router_logit_softcapping": 30.0,
        "rope_theta": 208533496,
        "attn_temperature_len": 1024,
        "model_type": "git",
        "rope_type": "original",
    }
    model = from_public(config, "Grok-2")
    assert model.parameters == pytest.approx(269.5e9, rel=1e-3)
    assert model.active_parameters == pytest.approx(115e9, rel=1e-2)
    assert not model.tied_embeddings
    assert model.activation == "gelu"
    again = to_public(model)
    for key in config.keys() - {"rope_type"}:
        assert again[key] == config[key], key


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """transformers without a network, its copies of remote code in a folder of the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return transformers


def prompt(model: Model, length: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(3, model.vocabulary, (1, length), generator=generator)


@torch.no_grad()
def greedy(grok: Grok, tokens: torch.Tensor, new: int) -> list[int]:
    cache = Cache(grok.config, slots=1)
    out: list[int] = []
    for _ in range(new):
        logits = grok(tokens, cache=cache.step([0], [tokens.shape[1]]))
        out.append(int(logits[0, -1].argmax()))
        tokens = torch.tensor([out[-1:]])
    return out


def test_transformers_says_the_same(public: Grok, tmp_path: Path, offline: Any) -> None:
    model = public.config
    export(public, tmp_path / "export")
    theirs = offline.AutoModelForCausalLM.from_pretrained(
        tmp_path / "export", trust_remote_code=True
    ).eval()
    tokens = prompt(model, length=40)
    with torch.no_grad():
        logits = theirs(tokens).logits
        torch.testing.assert_close(logits, public(tokens), rtol=0, atol=5e-5)
    start = prompt(model)
    answer = theirs.generate(start, max_new_tokens=24, do_sample=False)
    said = answer[0, start.shape[1] :].tolist()
    assert said == greedy(public, start, 24)
    assert len(set(said)) > 3


def test_transformers_pads_on_the_left(tmp_path: Path, offline: Any) -> None:
    grok = lively(GROK_2)
    export(grok, tmp_path / "export")
    theirs = offline.AutoModelForCausalLM.from_pretrained(
        tmp_path / "export", trust_remote_code=True
    ).eval()
    tokens = prompt(GROK_2)
    padded = torch.cat((torch.zeros(1, 4, dtype=torch.long), tokens), dim=1)
    mask = (torch.arange(13) >= 4)[None].long()
    positions = (torch.arange(13) - 4).clamp(min=0)[None]
    with torch.no_grad():
        got = theirs(padded, attention_mask=mask, position_ids=positions).logits[:, 4:]
        torch.testing.assert_close(got, grok(tokens), rtol=0, atol=5e-5)


def test_choice_biases_travel_as_an_extra_tensor(tmp_path: Path, offline: Any) -> None:
    grok = lively(GROK_1)
    tokens = prompt(GROK_1, length=20)
    with torch.no_grad():
        before = grok(tokens)
        for router in grok.routers().values():
            router.bias += torch.linspace(-0.5, 0.5, 8)
        after = grok(tokens)
    assert (before - after).abs().max() > 0.01
    notes = export(grok, tmp_path / "export")
    assert any("bias" in note for note in notes)
    theirs = offline.AutoModelForCausalLM.from_pretrained(
        tmp_path / "export", trust_remote_code=True
    ).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, after, rtol=0, atol=5e-5)
        torch.testing.assert_close(load(tmp_path / "export")(tokens), after, rtol=0, atol=0)


def test_bf16_loads_in_transformers_with_fp32_routers(tmp_path: Path, offline: Any) -> None:
    export(lively(GROK_1), tmp_path / "export", dtype=torch.bfloat16)
    theirs = offline.AutoModelForCausalLM.from_pretrained(
        tmp_path / "export", trust_remote_code=True, dtype="auto"
    )
    assert theirs.model.embed_tokens.weight.dtype == torch.bfloat16
    assert theirs.model.layers[0].block_sparse_moe.gate.weight.dtype == torch.float32
    assert theirs(prompt(GROK_1)).logits.dtype == torch.bfloat16


TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"


def byte_tokenizer() -> Tokens:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    special = ["<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special, *letters])}
    rust = Tokenizer(models.BPE(vocabulary, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([AddedToken(token, special=True) for token in special])
    return Tokens(
        rust.to_str(),
        pad=special[0],
        bos=special[1],
        eos=special[5],
        pad_id=0,
        bos_id=1,
        eos_id=5,
        chat_template=TEMPLATE,
    )


def test_tokenizer_and_chat_template_come_along(tmp_path: Path, offline: Any) -> None:
    export(lively(GROK_1), tmp_path / "export", tokens=byte_tokenizer())
    tokenizer = offline.AutoTokenizer.from_pretrained(tmp_path / "export")
    assert tokenizer.decode(tokenizer("Größe 12").input_ids) == "Größe 12"
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (5, 0)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_dict=False)
    assert ids[0] == 2
    assert ids[-1] == 5
    assert tokenizer.decode(ids) == "<|user|>Hi<|end|>"
    generation = offline.GenerationConfig.from_pretrained(tmp_path / "export")
    assert generation.eos_token_id == 5


def test_engines_that_differ_are_named() -> None:
    assert any("vLLM" in note for note in caveats(GROK_2))
    assert not any("SGLang" in note for note in caveats(GROK_2))
    assert any("caps router logits" in note for note in caveats(GROK_1))
    assert any("GELU" in note for note in caveats(ODD_GROK))
    assert caveats(LLAMA) == []
    renormalised = GROK_2.model_copy(update={"renormalise_gates": True})
    assert any("renormalise" in note for note in caveats(renormalised))
    plain = renormalised.model_copy(update={"residual_experts": False})
    assert not any("renormalise" in note for note in caveats(plain)), "a norm follows"
    assert any("rotary" in n for n in caveats(GROK_2.model_copy(update={"rope_base": 1e4 + 0.5})))
    assert caveats(MIXTRAL.model_copy(update={"head_size": MIXTRAL.width // MIXTRAL.heads})) == []
    assert any("heads together" in n for n in caveats(MIXTRAL.model_copy(update={"head_size": 2})))


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (GPT, "norm"),
        (SHARED, "shared_experts"),
        (LLAMA.model_copy(update={"attention_softcap": 30.0}), "attention_softcap"),
        (MIXTRAL.model_copy(update={"renormalise_gates": False}), "renormalise_gates"),
    ],
    ids=["layer-norm", "shared", "capped-llama", "raw-gates"],
)
def test_models_without_a_public_class_are_refused(
    model: Model, field: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=field):
        export(build(model), tmp_path)
    assert not list(tmp_path.iterdir())


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_only_the_files_of_the_index_are_read(tmp_path: Path) -> None:
    """Some releases bring their weights twice, under other names."""
    grok = lively(LLAMA)
    export(grok, tmp_path, shard_bytes=50_000)
    save_file({"layers.0.wq": torch.ones(2)}, tmp_path / "consolidated.safetensors")
    assert load(tmp_path).state_dict().keys() == state(grok).keys()
    last = max(tmp_path.glob("model-*.safetensors"))
    last.rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(UserError, match=rf"{last.name} is damaged: No such file"):
        load(tmp_path)
    (tmp_path / INDEX).write_text("[]")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        load(tmp_path)


def test_damaged_and_foreign_folders_end_in_a_sentence(tmp_path: Path) -> None:
    export(lively(GROK_1), tmp_path)
    good = (tmp_path / "config.json").read_text()
    for changes, sentence in (
        ({"architectures": ["BertModel"]}, "BertModel"),
        ({"hidden_size": 72}, "shape"),
        ({"num_hidden_layers": 1}, r"the tensor model\.layers\.1\.\S+ and \d+ more, which"),
        ({"num_hidden_layers": 3}, "no tensor model.layers.2"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling"),
        ({"hidden_act": "mish"}, "mish"),
    ):
        edit(tmp_path, **changes)
        with pytest.raises(UserError, match=sentence):
            load(tmp_path)
        (tmp_path / "config.json").write_text(good)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(good)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path)
    weights.unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        load(tmp_path)
    with pytest.raises(UserError, match="missing"):
        load(tmp_path / "nowhere")
