"""The shape of a model in a ``config.json`` as Hugging Face and its likes publish it.

A description may name such a file where it names a model: ``model: llama/config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.evidence import Evidence, Fact, Source
from opencolossus.specs.public_families import FAMILIES, Config, Values, common_values
from opencolossus.specs.tree import Node, Origin, read


def _left_out(config: Config, architecture: str) -> dict[str, str]:
    """What the network here does not have, by the field that it is told beside."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    found = {
        "context": [
            f"rotary positions are not scaled ({kind})" * (kind != "default"),
            f"attention is not cut to a window of {window}" * bool(window),
        ],
        "heads": [
            "queries and keys have no norms" * architecture.startswith(("Qwen3", "Olmo2")),
            "queries, keys and values have no biases" * _some_biases(config, architecture),
        ],
        "layers": [
            "no module predicts a second token" * bool(config.get("num_nextn_predict_layers")),
            "norms stand before blocks, not after" * architecture.startswith("Olmo2"),
        ],
    }
    return {field: "; ".join(filter(None, notes)) for field, notes in found.items() if any(notes)}


def _some_biases(config: Config, architecture: str) -> bool:
    some = config.get("attention_bias", False) and not config.get("mlp_bias", False)
    return bool(some) or architecture.startswith("Qwen2")


def node(path: Path, where: Origin, field: str) -> Node:
    """The model of a file, as if it had been written in the description; ``where`` names it.

    What the network here does not have is left out, told as an assumption beside a field.

    Raises:
        UserError: there is no such file, it is no JSON, a key is missing, or the class is unknown.
    """
    asked = f"{where}: {field}: "
    try:
        config = json.loads(read(path))
    except ValueError as error:
        raise UserError(f"{asked}{path} is not JSON: {error}") from None
    architecture = str(((isinstance(config, dict) and config.get("architectures")) or ["none"])[0])
    if architecture not in FAMILIES:
        guess = did_you_mean(architecture, FAMILIES) or f"; known: {', '.join(FAMILIES)}"
        raise UserError(f"{asked}{path} describes the class {architecture!r}{guess}")
    try:
        values = common_values(config) | FAMILIES[architecture](config)
    except KeyError as error:
        raise UserError(f"{asked}{path}: the key {error.args[0]!r} is missing") from None
    name = path.parent.name if path.stem == "config" and path.parent.name else path.stem
    told = _facts(values, _left_out(config, architecture), path)
    told["name"] = Node(name, Origin(str(path)))
    return Node(told, where)


def _facts(values: Values, left_out: Mapping[str, str], path: Path) -> dict[str, Node]:
    """Each value with where it was read, or with what was left out beside it."""
    source, origin = Source(key=path.name, title=str(path)), Origin(str(path))
    found = {}
    for field, value in values.items():
        if isinstance(value, dict):
            found[field] = Node(_facts(value, {}, path), origin)
        elif value is not None:
            note = left_out.get(field, "")
            grade = Evidence.ASSUMED if note else Evidence.VENDOR
            found[field] = Node(value, origin, fact=Fact(value, grade, source, note))
    return found
