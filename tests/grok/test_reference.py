"""Agreement with the original Grok-1 implementation (xai-org/grok-1, run in fp32 at a small size).

The fixture holds its weights, inputs, logits and activations.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from opencolossus.grok.model import Grok
from opencolossus.specs.model import Model

FIXTURE = Path(__file__).parent / "fixtures" / "grok1_reference.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(FIXTURE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def grok(reference: dict[str, np.ndarray]) -> Grok:
    shape = json.loads(str(reference["config"]))
    config = Model(
        layers=shape["num_layers"],
        width=shape["emb_size"],
        heads=shape["num_q_heads"],
        kv_heads=shape["num_kv_heads"],
        head_size=shape["key_size"],
        vocabulary=shape["vocab_size"],
        context=shape["sequence_len"],
        activation="gelu",
        experts=shape["num_experts"],
        experts_per_token=shape["num_selected_experts"],
        expert_feed_forward=176,
        norm_placement="sandwich",
        tied_embeddings=True,
        embedding_multiplier=shape["embedding_multiplier_scale"],
        output_multiplier=shape["output_multiplier_scale"],
        attention_multiplier=shape["attn_output_multiplier"],
        attention_softcap=30.0,
    )
    model = Grok(config)
    missing, unexpected = model.load_state_dict(translated(reference), strict=False)
    assert not unexpected
    assert all(name.endswith("router.bias") or name == "head.weight" for name in missing)
    model.tie()
    for router in model.routers().values():
        router.bias.zero_()
    return model.eval()


def translated(reference: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The reference's parameters in the names and layouts of `Grok`."""
    linear = {
        "multi_head_attention/query": "attention.query",
        "multi_head_attention/key": "attention.key",
        "multi_head_attention/value": "attention.value",
        "multi_head_attention/linear": "attention.output",
        "router": "experts.router.gate",
    }
    stacked = {"linear": "gate", "linear_v": "up", "linear_1": "down"}
    norms = {
        "rms_norm": "attention_norm",
        "rms_norm_1": "attention_post_norm",
        "rms_norm_2": "feed_forward_norm",
        "rms_norm_3": "feed_forward_post_norm",
    }

    def param(name: str) -> Tensor:
        return torch.from_numpy(reference[f"param:{name}"])

    state = {
        "embed.weight": param("language_model/in_out_embed/embeddings"),
        "norm.weight": param("language_model/rms_norm/scale"),
    }
    for layer in range(2):
        there, here = f"transformer/decoder_layer_{layer}", f"blocks.{layer}"
        state |= {f"{here}.{b}.weight": param(f"{there}/{a}/w").T for a, b in linear.items()}
        state |= {
            f"{here}.experts.experts.{b}": param(f"{there}/moe/{a}/w") for a, b in stacked.items()
        }
        state |= {f"{here}.{b}.weight": param(f"{there}/{a}/scale") for a, b in norms.items()}
    return state


@pytest.mark.parametrize("case", ["tokens", "tokens_rightpad", "tokens_leftpad"])
def test_logits_equal_the_original(grok: Grok, reference: dict[str, np.ndarray], case: str) -> None:
    tokens = torch.from_numpy(reference[case]).long()
    with torch.no_grad():
        logits = grok(tokens, key_mask=tokens > 0)
    wanted = torch.from_numpy(reference[f"logits_fp32_{case}"])
    assert wanted.std() > 0.3
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


def test_without_padding_the_mask_changes_nothing(
    grok: Grok, reference: dict[str, np.ndarray]
) -> None:
    tokens = torch.from_numpy(reference["tokens"]).long()
    assert (tokens > 0).all()
    with torch.no_grad():
        logits = grok(tokens)
    wanted = torch.from_numpy(reference["logits_fp32_tokens"])
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_activations_equal_the_original(
    grok: Grok, reference: dict[str, np.ndarray], layer: int
) -> None:
    seen: dict[str, Tensor] = {}
    block = grok.blocks[str(layer)]
    hooks = [
        block.attention.register_forward_hook(lambda m, i, o: seen.update(attn_out=o)),
        block.experts.register_forward_hook(lambda m, i, o: seen.update(moe_out=o[0])),
        block.register_forward_hook(lambda m, i, o: seen.update(out=o[0])),
        block.experts.router.register_forward_hook(
            lambda m, i, o: seen.update(gates=o.gates_NJ, experts=o.experts_NJ)
        ),
    ]
    try:
        with torch.no_grad():
            grok(torch.from_numpy(reference["tokens"]).long())
    finally:
        for hook in hooks:
            hook.remove()
    for name in ("attn_out", "moe_out", "out"):
        wanted = torch.from_numpy(reference[f"mid:decoder_layer_{layer}_{name}"])
        bound = 1e-5 * max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(seen[name], wanted, rtol=0, atol=bound)
    probs = torch.from_numpy(reference[f"mid:decoder_layer_{layer}_router_probs"]).flatten(0, 1)
    gates, experts = probs.topk(2)
    assert torch.equal(seen["experts"], experts)
    torch.testing.assert_close(seen["gates"], gates, rtol=0, atol=1e-5)
