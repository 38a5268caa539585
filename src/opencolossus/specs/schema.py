"""The JSON schema of a description, as people write it: names of entries, bases, facts."""

from __future__ import annotations

from typing import Any

from opencolossus.specs import catalog
from opencolossus.specs.document import Description
from opencolossus.specs.evidence import Evidence

_FACT = {
    "type": "object",
    "description": "a value with its source",
    "required": ["value", "evidence"],
    "additionalProperties": False,
    "properties": {
        "value": {"type": ["string", "number", "boolean"]},
        "evidence": {"enum": [str(grade) for grade in Evidence]},
        "source": {"type": "string"},
        "note": {"type": "string"},
    },
}


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a description.

    A field that takes a catalog entry accepts its name, or a mapping with ``base`` and overrides;
    then nothing is required, because the base brings it.
    """
    schema = Description.model_json_schema(mode="validation")
    by_title = {spec.__name__: kind for kind, spec in catalog.KINDS.items()}
    definitions = schema.get("$defs", {})
    for title, kind in by_title.items():
        if title in definitions:
            definitions[title] = _named(definitions[title], kind)
    for definition in [schema, *definitions.values()]:
        _allow_facts(definition)
    definitions["Fact"] = _FACT
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Colossus description"
    return schema


def _named(definition: dict[str, Any], kind: str) -> dict[str, Any]:
    """A name, an entry with overrides, or the whole spec."""
    names = catalog.names(kind)
    name = {"enum": names} if names else {"type": "string"}
    based = {key: value for key, value in definition.items() if key != "required"}
    based["properties"] = {"base": name, **definition["properties"]}
    based["required"] = ["base"]
    name["description"] = f"a name from 'colossus catalog {kind}'"  # type: ignore[assignment]
    return {"anyOf": [name, based, definition]}


def _allow_facts(definition: dict[str, Any]) -> None:
    for variant in definition.get("anyOf", [definition]):
        properties = variant.get("properties", {})
        for key, value in properties.items():
            if _is_leaf(value) and key != "base":
                properties[key] = {"anyOf": [value, {"$ref": "#/$defs/Fact"}]} | _kept(value)


def _is_leaf(value: dict[str, Any]) -> bool:
    """Whether a schema is a number or a quantity, alone or in a union."""
    variants = value.get("anyOf", [value])
    return any(v.get("type") in ("integer", "number") or "examples" in v for v in variants)


def _kept(value: dict[str, Any]) -> dict[str, Any]:
    return {key: value[key] for key in ("description", "default", "title") if key in value}
