"""The JSON schema of a description, as people write it: names of entries, bases, facts."""

from __future__ import annotations

from typing import Any

from opencolossus.specs import catalog
from opencolossus.specs.docs import WithDocs
from opencolossus.specs.document import Description
from opencolossus.specs.evidence import Evidence
from opencolossus.specs.model import Model

PART = ".part"
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
_CONFIG = {"type": "string", "pattern": r"\.json$", "description": "a config.json of Hugging Face"}


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a description.

    A field that takes a catalog entry accepts its name, or a mapping with ``base`` and overrides;
    then nothing is required at any depth, because the base brings it, and null takes away.
    """
    schema = Description.model_json_schema(mode="validation", schema_generator=WithDocs)
    by_title = {spec.__name__: kind for kind, spec in catalog.KINDS.items()}
    definitions = schema.get("$defs", {})
    parts = {title + PART: _part(definition) for title, definition in definitions.items()}
    for title, kind in by_title.items():
        if title in definitions:
            part = parts[title + PART]
            definitions[title] = _named(definitions[title], part, kind)
            parts[title + PART] = {"anyOf": [_name(kind), _based(part, kind, required=False)]}
    definitions.update(parts)
    for definition in [schema, *definitions.values()]:
        _allow_facts(definition)
    definitions["Fact"] = _FACT
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Colossus description"
    return schema


def _named(definition: dict[str, Any], part: dict[str, Any], kind: str) -> dict[str, Any]:
    """A name, an entry with overrides, or the whole spec."""
    return {"anyOf": [_name(kind), _based(part, kind, required=True), definition]}


def _name(kind: str) -> dict[str, Any]:
    names = catalog.names(kind)
    name: dict[str, Any] = {"enum": names} if names else {"type": "string"}
    known = name | {"description": f"a name from 'colossus catalog {kind}'"}
    return {"anyOf": [known, _CONFIG]} if kind == Model.catalog_kind else known


def _based(part: dict[str, Any], kind: str, required: bool) -> dict[str, Any]:
    properties = {"base": _name(kind), **part["properties"]}
    return part | {"properties": properties} | ({"required": ["base"]} if required else {})


def _part(schema: Any) -> Any:
    """What may stand below a ``base``: nothing is required, null takes away, lists are whole."""
    if isinstance(schema, list):
        return [_part(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        "anyOf" if key == "oneOf" else key: value
        if key in ("items", "prefixItems")
        else _part(value)
        for key, value in schema.items()
        if key not in ("required", "discriminator", "minProperties")
    }
    if "$ref" in found:
        return {"anyOf": [{"$ref": f"{found.pop('$ref')}{PART}"}, {"type": "null"}], **found}
    if "properties" in found:
        found["properties"] = {
            key: _part(value) if key != "kind" else value
            for key, value in schema["properties"].items()
        }
    if "anyOf" in found and {"type": "null"} not in found["anyOf"]:
        found["anyOf"].append({"type": "null"})
    return found


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
