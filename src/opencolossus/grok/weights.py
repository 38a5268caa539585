"""A model as the folder that transformers, SGLang, llama.cpp and vLLM read, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencolossus.grok.model import Grok
from opencolossus.grok.weights_config import caveats, family, from_public, to_public
from opencolossus.grok.weights_files import SHARD_BYTES, TensorFolder, write_tensors
from opencolossus.grok.weights_names import places, router_bias
from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic
from opencolossus.specs.model import Model


@dataclass(frozen=True)
class Tokens:
    """The tokenizer that belongs to a model."""

    json: str
    """Content of ``tokenizer.json``."""
    pad: str
    bos: str
    eos: str
    pad_id: int
    bos_id: int
    eos_id: int
    chat_template: str | None = None
    """Jinja."""


def export(
    grok: Grok,
    folder: Path,
    *,
    tokens: Tokens | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> list[str]:
    """Write a network; see `export_state`."""
    state = dict(grok.state_dict())
    return export_state(
        grok.config, state, folder, tokens=tokens, dtype=dtype, shard_bytes=shard_bytes
    )


def export_state(
    model: Model,
    state: Mapping[str, Tensor],
    folder: Path,
    *,
    tokens: Tokens | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> list[str]:
    """Write safetensors, ``config.json``, tokenizer and, for a Grok, its modelling files.

    Args:
        state: parameters of the whole model by name, as `Grok.state_dict` gives them.
        dtype: what matrices and norms are stored in; routers stay in fp32. As they are if left out.

    Returns:
        Where engines that know the class by their own code differ, a sentence each.

    Raises:
        UserError: no public class has such a model, or the folder cannot be written.
    """
    kind = family(model)
    biased = _biased_layers(model, state)
    config = to_public(model) | {"torch_dtype": _dtype_name(state, dtype)}
    if tokens is not None:
        config |= {
            "pad_token_id": tokens.pad_id,
            "bos_token_id": tokens.bos_id,
            "eos_token_id": tokens.eos_id,
        }
    write_tensors(folder, _public_tensors(model, state, dtype, biased), shard_bytes)
    if kind == "grok":
        _write_modelling(folder)
    if tokens is not None:
        _write_tokens(folder, tokens, model.context)
    if biased:
        config["router_bias"] = True
    # Last: a folder with a config.json is a whole one.
    _write_json(folder / "config.json", config)
    notes = caveats(model)
    if biased:
        notes.append("only the modelling file of the folder knows the routers' choice biases")
    return notes


def load(
    folder: Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Grok:
    """A network from the files of an export, of the public Grok releases, of Llama or Mixtral.

    Args:
        dtype: of the weights; that of the files if left out. Routers stay as they are.

    Raises:
        UserError: a file is missing or damaged, or does not fit ``config.json``.
    """
    config = read_config(folder)
    model = from_public(config, folder.name)
    with torch.device("meta"):
        grok = Grok(model)
    with ExitStack() as stack:
        source = TensorFolder(folder, stack)
        stored = source.read("model.embed_tokens.weight", grok.get_parameter("embed.weight").shape)
        grok = grok.to(dtype or stored.dtype)
        for router in grok.routers().values():
            router.float()
        grok.to_empty(device=device)
        grok.tie()
        _fill(grok, source)
    return grok.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a folder.

    Raises:
        UserError: it is missing or no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path} is missing; give the folder of an exported model") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no JSON object")
    return config


@torch.no_grad()
def _fill(grok: Grok, source: TensorFolder) -> None:
    state = dict(grok.named_parameters(remove_duplicate=False))
    for place in places(grok.config):
        if grok.config.tied_embeddings and place.ours == "head.weight":
            continue
        target = place.take(state[place.ours])
        target.copy_(source.read(place.public, target.shape))
    biases = {layer: router_bias(int(layer)).public for layer in grok.routers()}
    source.refuse_others([*(place.public for place in places(grok.config)), *biases.values()])
    for layer, router in grok.routers().items():
        name = biases[layer]
        router.load.zero_()
        router.bias.zero_()
        if name in source:
            router.bias.copy_(source.read(name, router.bias.shape))


def _public_tensors(
    model: Model, state: Mapping[str, Tensor], dtype: torch.dtype | None, biased: list[int]
) -> Iterator[tuple[str, Tensor]]:
    for place in places(model):
        tied = model.tied_embeddings and place.ours == "head.weight"
        tensor = place.take(_whole(state["embed.weight" if tied else place.ours]))
        wanted = torch.float32 if place.is_router else dtype or tensor.dtype
        # A copy of its own: files hold no shared or strided memory.
        yield place.public, tensor.detach().to("cpu", wanted, copy=True).contiguous()
    for layer in biased:
        bias = router_bias(layer)
        yield bias.public, _whole(state[bias.ours]).detach().to("cpu", copy=True)


def _biased_layers(model: Model, state: Mapping[str, Tensor]) -> list[int]:
    if not model.experts:
        return []
    found = [(layer, state.get(router_bias(layer).ours)) for layer in range(model.layers)]
    return [layer for layer, bias in found if bias is not None and bool(_whole(bias).any())]


def _whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be spread over ranks."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


def _dtype_name(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> str:
    return str(dtype or state["embed.weight"].dtype).removeprefix("torch.")


def _write_modelling(folder: Path) -> None:
    source = files("opencolossus.grok") / "remote"
    for name in ("configuration_grok.py", "modeling_grok.py"):
        write_atomic(folder / name, (source / name).read_text(encoding="utf-8"))


def _write_tokens(folder: Path, tokens: Tokens, context: int) -> None:
    write_atomic(folder / "tokenizer.json", tokens.json)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": tokens.pad,
        "bos_token": tokens.bos,
        "eos_token": tokens.eos,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    ids = {"pad": tokens.pad_id, "bos": tokens.bos_id, "eos": tokens.eos_id}
    _write_json(folder / "generation_config.json", {f"{k}_token_id": v for k, v in ids.items()})
    if tokens.chat_template is not None:
        write_atomic(folder / "chat_template.jinja", tokens.chat_template)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=2) + "\n")
