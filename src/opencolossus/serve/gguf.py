"""A trained run as one file for llama.cpp, which has Grok of its own.

Keys and tensor names are those of the GGUF format's architecture "grok" (package gguf, 0.19).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from opencolossus.data import chat
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.block import Block
from opencolossus.grok.model import Grok
from opencolossus.grok.weights_config import family
from opencolossus.serve.trained import open_run
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model

if TYPE_CHECKING:
    from gguf import GGUFWriter

SPLIT = "dbrx"
"""The only kind of splitting into words in llama.cpp with the expression of our tokenizer and
without a shortcut past its merges."""
NOTE = "llama.cpp renormalises gates (the norm after the experts takes that back, but for rounding)"


def export_gguf(run: Path, file: Path, dtype: torch.dtype) -> list[str]:
    """Write the newest sound checkpoint of ``run``, tokenizer included; norms and routers in fp32.

    Returns:
        Where llama.cpp computes something else, a sentence each.

    Raises:
        UserError: no such run, no sound checkpoint, a model that llama.cpp's Grok is not, or a
            file that cannot be written.
    """
    trained = open_run(run)
    notes = check(trained.model)
    grok = trained.network()
    if any(bool(router.bias.any()) for router in grok.routers().values()):
        notes.append(
            "llama.cpp leaves out the routers' choice biases, and may choose other experts"
        )
    try:
        _write(grok, trained.tokenizer, file, dtype)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None
    return notes


def check(model: Model) -> list[str]:
    """Where llama.cpp computes something else than this model, a sentence each.

    Raises:
        UserError: so much that the file would be of no use.
    """
    if family(model) != "grok":
        raise UserError(
            f"{model.name!r} is no Grok; use --out FOLDER and llama.cpp's convert_hf_to_gguf.py"
        )
    for field, have, wanted in (
        ("experts", model.experts > 0, "at least 1"),
        ("heads times head_size", model.heads * model.head_size == model.width, "the width"),
        ("attention_softcap", model.attention_softcap is not None, "a number, for example 30"),
        ("activation", model.activation == "gelu", "gelu"),
    ):
        if not have:
            raise UserError(f"llama.cpp's Grok needs {wanted} as {field}, unlike {model.name!r}")
    notes = [] if model.renormalise_gates else [NOTE]
    if model.router_softcap is not None:
        notes.append("llama.cpp does not cap the routers' logits")
    if model.attention_temperature_length:
        notes.append("llama.cpp leaves out the attention temperature")
    return notes


def _write(grok: Grok, tokenizer: Tokenizer, file: Path, dtype: torch.dtype) -> None:
    import gguf

    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".gguf")
    os.close(handle)
    unfinished = Path(name)
    try:
        writer = gguf.GGUFWriter(unfinished, "grok")
        _describe(writer, grok.config)
        _add_tokens(writer, tokenizer, grok.config.vocabulary)
        for key, tensor in tensors(grok):
            _add(writer, key, tensor, dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.chmod(0o644)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _describe(writer: GGUFWriter, model: Model) -> None:
    described = {
        "name": model.name,
        "context_length": model.context,
        "embedding_length": model.width,
        "block_count": model.layers,
        "feed_forward_length": model.feed_forward or model.expert_feed_forward,
        "expert_feed_forward_length": model.expert_feed_forward,
        "head_count": model.heads,
        "head_count_kv": model.kv_heads,
        "key_length": model.head_size,
        "value_length": model.head_size,
        "rope_dimension_count": model.head_size,
        "rope_freq_base": model.rope_base,
        "layer_norm_rms_eps": model.norm_epsilon,
        "expert_count": model.experts,
        "expert_used_count": model.experts_per_token,
        "vocab_size": model.vocabulary,
        "embedding_scale": model.embedding_multiplier,
        "logit_scale": model.output_multiplier,
        "attn_output_scale": model.attention_multiplier or model.head_size**-0.5,
        "attn_logit_softcapping": model.attention_softcap or 0.0,
        "final_logit_softcapping": model.logit_softcap or 0.0,
    }
    for name, value in described.items():
        getattr(writer, f"add_{name}")(value)


def _add_tokens(writer: GGUFWriter, tokenizer: Tokenizer, vocabulary: int) -> None:
    import gguf

    words = json.loads(tokenizer.rust.to_str())["model"]
    names = sorted(words["vocab"], key=words["vocab"].__getitem__)
    # A tokenizer of little text may have fewer tokens than the embedding has rows.
    spare = [f"<|unused {number}|>" for number in range(vocabulary - len(names))]
    control = set(chat.SPECIAL_TOKENS).union(spare)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLIT)
    writer.add_token_list(names + spare)
    writer.add_token_types(
        [
            gguf.TokenType.CONTROL if name in control else gguf.TokenType.NORMAL
            for name in names + spare
        ]
    )
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_pad_token_id(chat.PAD_ID)
    writer.add_bos_token_id(chat.BOS_ID)
    writer.add_eos_token_id(chat.END_ID)
    writer.add_add_bos_token(True)
    writer.add_chat_template(chat.TEMPLATE)


def tensors(grok: Grok) -> Iterator[tuple[str, Tensor]]:
    """Every tensor by its name in the file; matrices are [outputs, inputs]."""
    state = grok.state_dict()
    yield "token_embd.weight", state["embed.weight"]
    yield "output_norm.weight", state["norm.weight"]
    yield "output.weight", state["head.weight"]
    for layer, block in grok.blocks.items():
        assert isinstance(block, Block)  # what a whole network consists of
        for name, tensor in _layer(block):
            yield f"blk.{layer}.{name}.weight", tensor


def _layer(block: Block) -> Iterator[tuple[str, Tensor]]:
    state = block.state_dict()
    for name, ours in (
        ("attn_norm", "attention_norm"),
        ("attn_output_norm", "attention_post_norm"),
        ("ffn_norm", "feed_forward_norm"),
        ("layer_output_norm", "feed_forward_post_norm"),
        ("attn_q", "attention.query"),
        ("attn_k", "attention.key"),
        ("attn_v", "attention.value"),
        ("attn_output", "attention.output"),
        ("ffn_gate_inp", "experts.router.gate"),
        ("ffn_gate", "experts.dense.gate"),
        ("ffn_up", "experts.dense.up"),
        ("ffn_down", "experts.dense.down"),
    ):
        if (tensor := state.get(f"{ours}.weight")) is not None:
            yield name, tensor
    for part in ("gate", "up", "down"):
        yield f"ffn_{part}_exps", state[f"experts.experts.{part}"].transpose(1, 2)


def _add(writer: GGUFWriter, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    import gguf

    exact = tensor.ndim == 1 or "ffn_gate_inp" in name
    whole = tensor.detach().to(torch.float32 if exact else dtype).contiguous()
    if whole.dtype == torch.bfloat16:
        raw = whole.view(torch.int16).numpy().view(np.uint8)
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, whole.numpy())
